"""Telemetry: frames to counts. Records go ring, spool, (Kafka), fold, exposition; the hot path waits for none of them."""
