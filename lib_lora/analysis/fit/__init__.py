"""Found block weights: what keeps the subject and gives the model back as much of itself as possible."""
