"""slmreg as a service of the system: what to write and run for it, and how to talk to who started us."""
