"""Base models and adapters: pinned, found, loaded; the prompt they read."""
