"""Settings of a small engine for tests, proofs and benchmarks: what they don't name is as below."""

from pathlib import Path
from typing import Any

from calmops.engine.settings import EngineSettings

SMALL: dict[str, Any] = {
    "tp": 1, "dtype": "float32", "exact": None, "backend": "auto", "quantize": None, "device": "cpu", "kv_blocks": 512,
    "max_sequences": 32, "max_rows_per_step": 256, "prefix_cache": True, "max_waiting": 1024, "threads": 1,
}  # fmt: skip


def engine_settings(folder: Path, **settings: Any) -> EngineSettings:
    """Make the settings of an engine on a checkpoint folder. Raises ConfigError as EngineSettings does."""
    return EngineSettings(folder=folder, **{**SMALL, **settings})
