"""Where networks come from, one module per source, and where they can be cut.

May import: network and below.
"""
