"""Fits ``selector/quality_priors.json``, what the selector expects of a model before anyone has tried it here.

``data/published_scores.csv`` has one row for each published score, with its source; ``data/quantised_scores.csv`` has
pairs of scores of one model in full precision and quantised. docs/quality.md says what was found.
"""
