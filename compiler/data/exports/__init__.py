"""Data sets as other tools write them: a module for each tool, and the table of them in `forms`."""
