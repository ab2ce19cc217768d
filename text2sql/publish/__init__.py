"""From a finished run to what others can use: adapter and base merged, a model card, a push to the Hub."""
