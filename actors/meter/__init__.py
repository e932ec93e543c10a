"""Runs the meter's process."""
