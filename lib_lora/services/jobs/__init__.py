"""Long work as jobs: one desk hands them to the host in order, whoever looks on and from how many browser tabs."""
