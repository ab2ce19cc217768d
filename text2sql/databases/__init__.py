"""Filled databases for questions whose schemas bring no rows, and how many wrong queries they tell apart."""
