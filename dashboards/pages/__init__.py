"""The dashboards, one module each, and how their panels look."""
