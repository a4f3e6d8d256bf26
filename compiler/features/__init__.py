"""Images through a trunk, each once.

May import: lower and below.
"""
