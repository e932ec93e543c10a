"""Training makes a release from text: corpus, tokenizer, training with DeepSpeed, evaluation, model card."""
