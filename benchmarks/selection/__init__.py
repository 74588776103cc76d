"""Is the choice right, and how long does it take? A simulation against a truth that is known, and timings."""
