"""The model on a GPU: transformers' modules over paged attention of our own, a step's launches replayed from CUDA graphs."""
