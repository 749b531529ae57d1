"""A generation's LoRA tags: read, planned, attached to the UNet, and written into the picture."""
