"""Telemetry records to traces: spans of a request, which of them are kept, and how they leave through OTLP."""
