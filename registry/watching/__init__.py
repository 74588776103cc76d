"""Noticing changes: watches, polling, and when a folder has come to rest."""
