"""LoRA Atelier: one workshop for a LoRA's whole life."""

__version__ = "0.1.0"
