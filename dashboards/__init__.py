"""Defines what Grafana shows: four dashboards in Python, the JSON generated from them, and the push into a Grafana."""
