"""These modules hold the training loop, its options, its model and its checkpoints."""
