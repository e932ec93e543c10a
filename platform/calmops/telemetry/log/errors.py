"""Defines the error of an unreachable log, so that the meter can catch it without importing the client library."""

from calmops.foundation.errors import CalmopsError


class LogUnavailable(CalmopsError):
    """The log can't be reached, or refused a request. Try again later; no record is lost."""
