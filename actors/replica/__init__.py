"""Runs one gang: rank 0 takes placements and decodes on its engine thread, and the other ranks follow its plans."""
