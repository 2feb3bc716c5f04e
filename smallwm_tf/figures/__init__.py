"""Drawing, and nothing else."""
