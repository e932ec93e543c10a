"""Turns promises into files: recording and alerting rules for Prometheus, routes for Alertmanager."""
