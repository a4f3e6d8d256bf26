"""Heads and necks from features.

May import: network and below.
"""
