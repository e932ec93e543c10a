"""Decoding decides what each step computes: scheduler, cache blocks, stopping, beams. It knows no torch, clock, I/O."""
