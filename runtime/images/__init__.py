"""Anything that holds a picture becomes the pixels that a model reads.

May import: bundle and below.
"""
