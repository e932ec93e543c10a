"""Appends what was measured on a GPU to tests/gpu/LOG.md, with date and device."""

import datetime as dt
from pathlib import Path

import torch
import transformers

LOG = Path(__file__).with_name("LOG.md")


def log(line: str) -> None:
    """Append one result to the log."""
    if not LOG.exists():
        LOG.write_text(
            "# On a GPU\n\nAppended by `python -m tests.gpu.check` and `python -m tests.gpu.decode`.\n\n",
            encoding="utf-8",
        )
    where = f"{torch.cuda.get_device_name()}, torch {torch.__version__}, transformers {transformers.__version__}"
    with LOG.open("a", encoding="utf-8") as file:
        file.write(f"- {dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}, {where}: {line}\n")
