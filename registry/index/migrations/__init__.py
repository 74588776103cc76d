"""The database's schema, as Alembic revisions, and which of them is the newest.

Revisions are numbered texts ("0001", "0002"), so that an older program can tell that a database is newer than itself.
"""

HEAD = "0007"
