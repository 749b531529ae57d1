"""Three honest tiers of one question, which block does what: exact norms, changes of the prediction, pictures."""
