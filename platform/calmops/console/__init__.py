"""The console shows how the platform does: its page, and the figures and rows on it. The gateway serves /console."""
