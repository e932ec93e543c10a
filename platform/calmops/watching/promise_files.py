"""Reads the files of objectives and prices, again and again until each could be read.

While somebody is editing a file, what it says is missing; the metering goes on.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from calmops.foundation.config_sections import ObjectivesConfig
from calmops.objectives.promises.prices import read_prices
from calmops.objectives.promises_folder import read_folder
from calmops.watching.watcher import Watcher

AGAIN_S = 30.0  # after which a file that couldn't be read is tried again


class PromiseFiles:
    """Brings a watcher its promises and prices."""

    def __init__(self, config: ObjectivesConfig, watcher: Watcher) -> None:
        self._watcher = watcher
        self._readers: dict[str, Callable[[], Any]] = {
            "objectives": lambda: read_folder(Path(config.path) if config.path else None).promises
        }
        if config.prices_file:
            self._readers["prices"] = partial(read_prices, Path(config.prices_file))
        self._next_s = float("-inf")

    def read(self) -> None:
        """Read the files that haven't been read yet, every AGAIN_S at most. The watcher counts what can't be read."""
        if not self._readers or time.monotonic() < self._next_s:
            return
        values: dict[str, Any] = {}
        for part, read in list(self._readers.items()):
            try:
                values[part] = read()
            except Exception:  # anything may be wrong with it: an editor may have saved half of it
                self._watcher.failed(part)
            else:
                del self._readers[part]
        self._next_s = time.monotonic() + AGAIN_S
        self._watcher.use(values.get("objectives"), values.get("prices"))
