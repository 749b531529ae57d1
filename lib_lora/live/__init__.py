"""LoRAs on a live model: which layers a file targets, and attaching it so that nothing stays behind."""
