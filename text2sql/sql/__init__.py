"""SQL as text: its tokens, its statements, its spelling, its dialects. Runs nothing."""
