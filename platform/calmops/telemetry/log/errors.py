"""What goes wrong between spool, log and meter. Known to all of them, so that only one file knows the client library."""

from calmops.foundation.errors import CalmopsError


class LogUnavailable(CalmopsError):
    """The log can't be reached, or refused what was asked of it. Try again later; nothing is lost by it."""
