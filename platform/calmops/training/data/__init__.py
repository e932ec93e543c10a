"""Text to training batches: corpus, chat samples, tokenizer, dataset."""
