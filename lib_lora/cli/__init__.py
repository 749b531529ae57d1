"""The terminal: the same services as the panels, one file per group of commands."""
