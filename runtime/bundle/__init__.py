"""A bundle: its manifest, its files, its report.

May import: the files on the first floor, and signing.
"""
