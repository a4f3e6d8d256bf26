"""A file against its device: bytes, memory, operations.

May import: backbones, lower and below.
"""
