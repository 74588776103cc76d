"""Which models exist on this machine: sources, folders, the SQLite registry and the watcher.

Imports nothing of ``selector`` or ``daemon``.
"""
