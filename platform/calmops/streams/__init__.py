"""Keeps streams whole: journal, gang liveness, attempt budget, projection. Pure: time is passed in, nothing waits.

Knows no Ray and no HTTP.
"""
