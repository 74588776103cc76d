"""Which model for this task on this machine: hardware, footprint, speed, selection.

Imports only ``registry.model`` and ``registry.errors``; everything but ``selector.hardware`` is pure.
"""
