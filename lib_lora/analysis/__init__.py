"""Analysis: which block of a LoRA does what, by exact norms and by pictures."""
