"""Joins the meter's counts with objectives and prices: what burns, what fires, what it costs, what the page shows."""
