"""A sweep: runs that differ in a few options, one after another, and one comparison of what they came to."""
