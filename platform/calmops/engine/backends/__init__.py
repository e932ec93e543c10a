"""What runs a step: transformers' modules, our CPU kernel, or a GPU; and the choice between them."""
