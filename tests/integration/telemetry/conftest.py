"""Imports kafka-python once with its warnings off: it reads its schemas through a call that Python has deprecated."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401
