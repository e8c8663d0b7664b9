"""What the queue costs with ten thousand waiting jobs, and whether what it forecasts comes true."""
