"""Builds the dashboards, one module each, out of shared queries and panels."""
