"""Counts, objectives and prices joined: what burns, what fires, what it costs, and what the page shows."""
