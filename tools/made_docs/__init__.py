"""What `tools/docs` makes the generated parts of docs/ with: one module for each kind of source."""
