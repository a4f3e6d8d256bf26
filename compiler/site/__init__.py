"""A web bundle as a site: the page and the runtime in JavaScript around it, for any host that serves files.

May import: options, records, steps, toolchain, cache, and the runtime.
"""
