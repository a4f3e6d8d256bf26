"""A camera, a video or a folder, and who is told.

May import: classifier and below.
"""
