"""The demo: one LoRA through its whole life on the pocket model, in minutes."""
