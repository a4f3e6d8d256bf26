"""Which stored examples are near, what they decide, and when the answer is unknown.

May import: gallery and below.
"""
