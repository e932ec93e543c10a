"""Defines the settings of one engine: parsed by the shell, valid and frozen. Knows no configuration file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from calmops.foundation.errors import ConfigError

DTYPES = ("float32", "bfloat16")
DEVICES = ("cpu", "cuda")
BACKENDS = ("auto", "kernel", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Says how the ranks of a gang run, the same for each of them. Raises ConfigError for a value outside its range.

    The defaults are those of calmops.yaml (foundation/config_sections.ModelConfig); here there are none.
    """

    folder: Path  # a Hugging Face checkpoint with its release.json
    tp: int  # ranks in the gang
    dtype: Literal["float32", "bfloat16"]
    exact: bool | None  # guarantee G2, a batch-invariant step; None: where it costs nothing, on the kernel
    backend: Literal["auto", "kernel", "transformers"]  # auto: the kernel wherever it runs
    quantize: Literal["int8"] | None  # weights only, on the kernel
    device: Literal["cpu", "cuda"]
    kv_blocks: int  # cache budget, blocks of 16 tokens
    max_sequences: int  # running at once
    max_rows_per_step: int  # tokens through one forward pass
    prefix_cache: bool  # begin with blocks that earlier requests filled
    max_waiting: int  # sequences not yet running; a submit beyond it is refused
    threads: int  # CPU threads of this rank's matrix products
    cores: tuple[int, ...] = ()  # of this rank's threads, one each; empty: as the kernel schedules

    def __post_init__(self) -> None:
        checked = (("dtype", self.dtype, DTYPES), ("device", self.device, DEVICES), ("backend", self.backend, BACKENDS))
        for name, value, allowed in checked:
            if value not in allowed:
                raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
        if self.quantize not in (None, "int8"):
            raise ConfigError(f"quantize is {self.quantize!r}; it must be int8, or left out")
        for name in ("tp", "kv_blocks", "max_sequences", "max_rows_per_step", "max_waiting", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
