"""Understanding one model folder without loading it."""
