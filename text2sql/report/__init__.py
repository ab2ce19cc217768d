"""Everything joined by id: figures, plots, pages."""
