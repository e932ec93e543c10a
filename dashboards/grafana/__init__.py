"""A push into a Grafana: what is ours there, what would change, and the client that sends it."""
