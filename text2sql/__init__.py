"""Fine-tune a language model for Text2SQL and measure, by execution, whether it helped."""
