"""Programs as their users write them, with other people's libraries: each prints one JSON object of what it was told.

They run in processes of their own, so that what a library leaves behind (threads, loops, warnings) ends with them.
"""
