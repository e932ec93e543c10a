"""Telemetry: frames to counts. Records go ring -> spool -> (Kafka) -> fold -> exposition; nothing here waits on the hot path."""
