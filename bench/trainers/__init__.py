"""The two sides of bench/train.py: ours and the reference's, each a process that makes one step a line."""
