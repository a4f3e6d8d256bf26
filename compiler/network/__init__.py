"""A Keras network as a graph: folded, normalised, frozen, fingerprinted.

May import: weights, data and below.
"""
