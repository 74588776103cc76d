"""Ollama's API, under ``/api``: its words around the same answers, models and sessions as everything else here."""
