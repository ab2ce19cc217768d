"""What runs SQL that nobody vouches for: one module an engine, worker processes, a question's open databases."""
