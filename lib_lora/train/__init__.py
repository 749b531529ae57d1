"""Training: options, recipes, optimizers, objective, loop, run folder."""
