"""Fine-tuning: LoRA, loss on the SQL alone."""
