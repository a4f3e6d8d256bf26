"""Whatever `--data` names becomes samples, a split and pixels.

May import: cache and the files on the first floor.
"""
