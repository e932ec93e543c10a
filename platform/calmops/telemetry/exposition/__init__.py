"""Counts to text: Prometheus, OpenMetrics, and the same under vLLM's names."""
