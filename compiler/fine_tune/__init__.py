"""The last layers of a trunk, trained on.

May import: backbones, train and below.
"""
