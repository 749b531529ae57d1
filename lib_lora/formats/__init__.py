"""LoRA files: containers, key names, adapters, metadata and hashes."""
