"""What is right with an installation, what is not or is slow, and what to do about it.

``examination`` lists the checks, ``checks`` carries them out, the other modules know what one part of an installation
looks like. Invariants: nothing is repaired, and no check that fails or hangs keeps the others from being told.
"""
