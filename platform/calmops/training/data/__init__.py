"""These modules turn text into training batches: corpus, chat samples, tokenizer, dataset."""
