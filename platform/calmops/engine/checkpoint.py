"""Loads a checkpoint folder into memory, offline: nothing is fetched and no remote code runs.

Every rank loads the whole model and keeps its share. Knows no cache and no step.
"""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from calmops.engine.families import check_family, check_forward
from calmops.engine.settings import EngineSettings
from calmops.engine.tensor_parallel import shard
from calmops.foundation.errors import UnsupportedModel
from calmops.foundation.release import Release, verify

TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_checkpoint(settings: EngineSettings) -> tuple[torch.nn.Module, Release]:
    """Load this rank's share of the model, on its device and in its dtype, with the release that it was pinned by.

    Raises ReleaseError if a file isn't the pinned one, UnsupportedModel for what can't be run correctly.
    For tp > 1 the process must have joined its world.
    """
    release = verify(settings.folder)
    config = load_config(settings)
    dtype = TORCH_DTYPES[settings.dtype]
    transformers_logging.disable_progress_bar()
    loader: Any = AutoModelForCausalLM
    model: torch.nn.Module = loader.from_pretrained(
        settings.folder, config=config, dtype=dtype, local_files_only=True, use_safetensors=True,
        attn_implementation="eager",
    )  # fmt: skip
    check_forward(model)
    model.eval()
    if settings.device == "cuda":
        model.to("cuda")
    return shard(model, settings.tp, dtype), release


def load_config(settings: EngineSettings) -> Any:
    """Read the checkpoint's transformers configuration; raise UnsupportedModel if the engine can't run it."""
    if not (settings.folder / "config.json").is_file():
        raise UnsupportedModel(f"{settings.folder} holds no config.json: it isn't a Hugging Face checkpoint folder")
    config = AutoConfig.from_pretrained(settings.folder, local_files_only=True)
    check_family(config, settings)
    return config
