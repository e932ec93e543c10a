"""The console: its page, and the figures and rows on it. The gateway serves it at /console, without any other host."""
