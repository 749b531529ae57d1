"""What the program says, in English and Japanese: the panels' words and the core's sentences."""
