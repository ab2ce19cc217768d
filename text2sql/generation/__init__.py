"""Answers of a model: one protocol for backends, and the backends."""
