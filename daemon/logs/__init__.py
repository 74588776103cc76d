"""What the daemon says of itself: readable on a console, JSON lines in a file, both written beside the event loop."""
