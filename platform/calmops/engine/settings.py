"""How one rank of an engine is to run: parsed by the shell, valid and frozen from here on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calmops.foundation.errors import ConfigError

DTYPES = ("float32", "bfloat16")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The same for every rank of a gang. Raises ConfigError for a value outside its range."""

    folder: Path  # a Hugging Face checkpoint with its release.json
    tp: int = 1  # ranks in the gang
    dtype: Literal["float32", "bfloat16"] = "float32"
    exact: bool = False  # guarantee G2: a batch-invariant step
    device: Literal["cpu", "cuda"] = "cpu"
    kv_blocks: int = 512  # cache budget, blocks of 16 tokens
    max_sequences: int = 32  # running at once
    max_rows_per_step: int = 256  # tokens through one forward pass
    max_waiting: int = 1024  # sequences not yet running; a submit beyond it is refused
    threads: int = 1  # CPU threads of this rank's matrix products

    def __post_init__(self) -> None:
        for name, value in (("dtype", self.dtype), ("device", self.device)):
            allowed = DTYPES if name == "dtype" else DEVICES
            if value not in allowed:
                raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
        for name in ("tp", "kv_blocks", "max_sequences", "max_rows_per_step", "max_waiting", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
