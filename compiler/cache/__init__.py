"""What can be made again, kept within a bound.

May import: options, records, steps, toolchain.
"""
