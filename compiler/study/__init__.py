"""What the report measures.

May import: verify and below.
"""
