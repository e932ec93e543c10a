"""The engine turns a checkpoint and placements into tokens, step by step. Knows no Ray.

Its parts: checkpoint, tensor parallelism, backends, KV cache, sampler, detokenizer, and ``engine.py``, which runs them.
"""
