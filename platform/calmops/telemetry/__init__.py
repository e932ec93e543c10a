"""Telemetry turns frames into counts: ring -> spool -> (Kafka) -> fold -> exposition. Nothing waits on the hot path."""
