"""Starts and ends the local Ray cluster, and deploys onto it: what `calmops up` and `calmops down` do."""
