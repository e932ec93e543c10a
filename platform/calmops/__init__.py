"""calmops: serve causal language models on a Ray cluster and show, token by token, how well it does.

This package knows nothing of Ray; the shells around it (``actors``, ``chaos``) do.
"""

__version__ = "0.2.0"
