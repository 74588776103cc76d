"""What runs, and the doors to it: session pool, workers, HTTP API, command line."""

__version__ = "0.1.0"
