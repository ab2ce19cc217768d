"""Asking a database of one's own: its schema in the prompt, the model's SQL run where it can only read."""
