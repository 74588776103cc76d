"""The SQLite index: what is known, what a scan changes in it, and how it survives."""
