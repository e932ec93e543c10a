"""Intake turns a client's bytes into a valid request, and tokens into an answer. It knows no Ray, torch or HTTP."""
