"""Pushes dashboards and alerts into a Grafana: decides what is ours there and what would change, and sends it."""
