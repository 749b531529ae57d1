"""What `bench/merge.py` runs: random files, and a process of each side."""
