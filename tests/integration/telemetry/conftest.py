"""kafka-python reads its schemas through a call that Python has begun to deprecate: its import may warn, ours may not."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401
