"""Where settings come from, how ``config.toml`` is read and written, and how a running daemon takes up what changes."""
