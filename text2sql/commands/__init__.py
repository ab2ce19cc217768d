"""The commands of `python -m text2sql`, one module each."""
