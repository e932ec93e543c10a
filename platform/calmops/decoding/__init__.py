"""Decoding: requests to steps. Scheduler, cache budget, stopping, beams; no torch, no clock, no I/O."""
