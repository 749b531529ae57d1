"""A prompt as the WebUI reads it: its grammar, its LoRA tags in numbers, and what is to be said of it."""
