"""Axes of ours in the host's X/Y/Z plot."""
