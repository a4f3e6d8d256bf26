"""The forms in which labelled images come: each module says what it claims and reads it as samples.

May import: the records of data, exports, cache and the files on the first floor.
"""
