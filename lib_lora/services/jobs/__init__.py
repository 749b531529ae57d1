"""Long work as jobs: one job queue hands them to the host in order, whoever looks on and from how many browser tabs."""
