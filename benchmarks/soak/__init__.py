"""A day's work in minutes: clients that come and go while models are killed, swapped, replaced and evicted."""
