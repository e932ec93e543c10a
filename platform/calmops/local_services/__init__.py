"""Servers that `calmops up --with` runs beside the platform on one machine: Kafka, Prometheus, Alertmanager."""
