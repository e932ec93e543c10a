"""Turns promises into unit tests for promtool: scenarios of what must alert and what must not."""
