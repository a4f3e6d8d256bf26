"""What works on this device, how fast, and what to install.

May import: classifier and below.
"""
