"""Intake: a client's raw bytes to a valid request, and answers back out. Knows no Ray, no torch, no web framework."""
