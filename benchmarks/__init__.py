"""What rush costs, measured: `python -m benchmarks` prints a row for each promise, and says whether it is kept."""
