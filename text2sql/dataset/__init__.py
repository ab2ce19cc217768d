"""The one table of questions: its rows and labels, which are valid, which are selected, what became of each."""
