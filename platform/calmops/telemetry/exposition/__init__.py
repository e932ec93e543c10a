"""Exposition turns counts into text: Prometheus, OpenMetrics, and the same under vLLM's names."""
