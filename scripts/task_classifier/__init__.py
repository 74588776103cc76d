"""Fits ``selector/task_weights.json``, with which the selector tells from a prompt which task it is.

``data/train.txt`` and ``data/heldout.txt`` hold templates, ``data/fillers.toml`` what they are filled with, and
``data/by_hand.txt`` prompts that were written one by one and are never fitted. docs/classifier.md says what was found.
"""
