"""Blocks by name: layouts, block weights, presets, element rules and the prompt tag. Pure Python, no torch."""
