"""Promises to files: recording and alerting rules for Prometheus, routes for Alertmanager."""
