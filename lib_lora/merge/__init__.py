"""Merging in delta space: bake, compress, and the errors that were made."""
