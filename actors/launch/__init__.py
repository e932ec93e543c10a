"""Up and down: the local Ray cluster, its token, and what is deployed onto it."""
