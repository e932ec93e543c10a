"""The `calmops` command talks to a running platform over HTTP alone.

The commands that start a platform register themselves from outside, as entry points.
"""
