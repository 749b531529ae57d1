"""The two sides of bench/loads.py: files that we train, and what other programs make of them."""
