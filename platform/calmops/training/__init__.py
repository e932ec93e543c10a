"""Text to release: corpus, tokenizer, training with DeepSpeed, evaluation, model card."""
