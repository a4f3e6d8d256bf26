"""`tlc serve`: the page and an HTTP API over the runtime, for any number of people at once.

It is behind the extra `serve`, whose libraries only this room loads. May import: all other rooms of the runtime.
"""
