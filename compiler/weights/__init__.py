"""The bytes of any file become arrays and configurations; no code of theirs runs.

May import: cache and the files on the first floor.
"""
