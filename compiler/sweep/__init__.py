"""Several backbones and cuts on one data set, side by side.

May import: every other room.
"""
