"""The meter's process."""
