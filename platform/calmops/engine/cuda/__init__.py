"""Holds what ``backends/cuda.py`` is made of: paged attention, fused layers, a step's inputs and the GPU's sampler."""
