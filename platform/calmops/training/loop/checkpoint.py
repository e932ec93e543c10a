"""A run keeps checkpoints in its work folder; this module names the newest and reads trained weights from it.

It knows the folder and DeepSpeed's file name for one rank's model, and imports no DeepSpeed.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel

from calmops.foundation.errors import InputError

LATEST = "latest.json"
KEPT = 2
MODEL_STATES = "mp_rank_00_model_states.pt"


def checkpoints_of(work: Path) -> Path:
    """Return the folder of all checkpoints of the run in ``work``."""
    return work / "checkpoints"


def tag_of(step: int) -> str:
    """Return the tag, a checkpoint's name; tags sort as their steps do."""
    return f"step-{step:06d}"


def newest(work: Path) -> str | None:
    """Return the tag from which the run would go on; None before its first checkpoint."""
    pointer = checkpoints_of(work) / LATEST
    return str(json.loads(pointer.read_text())["tag"]) if pointer.is_file() else None


def publish(work: Path, tag: str) -> None:
    """Make ``tag`` the newest in one rename, and delete all checkpoints except the last KEPT."""
    folder = checkpoints_of(work)
    draft = folder / (LATEST + ".draft")
    draft.write_text(json.dumps({"tag": tag}) + "\n")
    draft.replace(folder / LATEST)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)


def load_weights(model: PreTrainedModel, work: Path) -> list[float]:
    """Put the newest checkpoint's weights into ``model``; return the loss of every step that made them."""
    tag = newest(work)
    if tag is None:
        raise InputError(f"{checkpoints_of(work)} holds no checkpoint yet")
    path = checkpoints_of(work) / tag / MODEL_STATES
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["module"], strict=False)
    model.tie_weights()
    return list(state["losses"])
