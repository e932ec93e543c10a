"""Tracing turns telemetry records into spans of a request, selects the traces to keep and sends them through OTLP."""
