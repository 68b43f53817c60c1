"""What all benchmarks share. Only the standard library is imported: some peers' environments have little else."""
