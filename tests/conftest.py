"""What holds for every test, however the tests are started."""

from __future__ import annotations

import os

from hypothesis import settings

# Hundreds of processes of our own are started. Without bytecode on the disk each of them compiles everything anew,
# which is a fifth of what a daemon takes to be ready.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples at every run: whether a change can be merged is not left to chance, nor to how busy the machine is.
# ``--hypothesis-profile=default`` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
