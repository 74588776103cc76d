"""Tool calls: found in an answer's text and turned into structure as they are written, and demanded by a grammar."""
