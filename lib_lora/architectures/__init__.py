"""One object for each family of models: its blocks, names, text encoders, sizes and labels. Pure Python, no torch."""
