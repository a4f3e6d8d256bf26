"""What is said about a build.

May import: study and below.
"""
