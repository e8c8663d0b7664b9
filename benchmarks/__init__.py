"""What the README claims, each re-runnable: `python -m benchmarks.NAME [--quick] [--out FILE] [--seed N]`."""
