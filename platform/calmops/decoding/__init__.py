"""Decoding: requests to steps. Which token rows run next, in which cache blocks, and when a sequence ends. Pure: no torch, no clock."""
