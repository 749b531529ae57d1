"""How a run fits into the memory there is: recomputing, float8, weights in main memory, and which of them is needed."""
