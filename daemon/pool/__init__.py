"""Sessions: which models are loaded, who uses them, and what has to go when memory is short."""
