"""What the daemon counts and measures of itself, for Prometheus and whatever else reads its format."""
