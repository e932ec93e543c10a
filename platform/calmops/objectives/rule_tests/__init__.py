"""Promises to promtool's unit tests: one scenario per alert."""
