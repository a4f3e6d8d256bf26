"""The runtime and the page in JavaScript, which a site is made of; nothing here is Python."""
