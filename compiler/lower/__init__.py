"""Trunk and head become a target's file.

May import: network and below.
"""
