"""The comparator, the score of each prediction, and statistics over them."""
