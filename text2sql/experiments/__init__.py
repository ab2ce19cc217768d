"""Runs as git keeps them, and how two of them differ."""
