"""Who signed a bundle, and whom this device trusts: minisign's files, the trusted keys, the newest serial numbers.

May import: the files on the first floor, and `optional`.
"""
