"""Local services are servers that `calmops up --with` runs beside the platform: Kafka, Prometheus, Alertmanager."""
