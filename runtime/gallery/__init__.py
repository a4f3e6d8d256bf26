"""What was enrolled on this device, in one SQLite file.

May import: bundle, images and below.
"""
