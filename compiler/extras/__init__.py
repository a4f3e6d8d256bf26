"""Files that lie beside the models.

May import: limits and below.
"""
