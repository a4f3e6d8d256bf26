"""What is written: a bundle's files and its manifest.

May import: report and below.
"""
