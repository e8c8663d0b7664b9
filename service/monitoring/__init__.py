"""What Prometheus reads: `GET /metrics` (docs/monitoring.md)."""
