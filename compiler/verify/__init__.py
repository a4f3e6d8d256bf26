"""A file against the float graph, and files against each other.

May import: features and below.
"""
