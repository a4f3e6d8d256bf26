"""Features made in shards, by as many machines as there are, and given to a build.

May import: features and below. A worker needs numpy, Pillow, an engine and pyarrow, no TensorFlow.
"""
