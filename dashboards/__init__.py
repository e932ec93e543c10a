"""What Grafana shows: four dashboards written in Python, and the JSON that is generated from them."""
