"""Files as they lie on the disk: listed, opened and read with bounds. Nothing here knows what a model is."""
