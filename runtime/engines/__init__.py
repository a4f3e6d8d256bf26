"""Model files run by the engine that is here, checked on golden samples.

May import: bundle, images and below.
"""
