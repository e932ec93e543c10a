"""The command line's words for a training run. Knows no torch, so `calmops train --help` is quick."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from calmops.foundation.paths import home
from calmops.training.loop.training_options import TrainingOptions

TEXTS = {
    "vocabulary": "most entries of the tokenizer",
    "hidden": "channels; 64 for each head",
    "intermediate": "channels inside the feed-forward part",
    "layers": "number of layers",
    "heads": "query heads of 64 channels",
    "kv_heads": "key and value heads, an even number",
    "context": "the model's window in tokens, at least 1024",
    "steps": "training steps in all",
    "batch_tokens": "tokens a step",
    "first_window": "tokens a window before the long ones",
    "long_share": "share of the steps, at the end, whose windows are the whole context",
    "peak_rate": "highest learning rate",
    "warmup_steps": "steps of linear warm-up",
    "decay_share": "share of the steps, at the end, over which the rate falls along a cosine",
    "weight_decay": "AdamW's weight decay, on matrices only",
    "clip_norm": "largest norm of the gradient",
    "dtype": "bfloat16 (with float32 master weights) or float32",
    "seed": "of the weights and the order of the data",
    "checkpoint_every": "steps between checkpoints",
    "threads": "torch threads",
}


def parse(arguments: Sequence[str]) -> tuple[TrainingOptions, bool]:
    """The run that ``arguments`` describe, and whether only a release of its newest checkpoint is wanted."""
    given = vars(_parser().parse_args(arguments))
    release_now = bool(given.pop("release_now"))
    name = given.pop("name")
    work = given.pop("work") or home() / "training" / name
    release = given.pop("release") or work / "releases" / name
    return TrainingOptions(work=work, release=release, **given), release_now


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="calmops train",
        description="Train a tokenizer and a small Llama-family model on a folder of text, and write a release with "
        "its model card. A run that was cut off goes on from its newest checkpoint when started again.",
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        default=None,
        help="folder of text or archive (.tar.xz); Python's own library if left out",
    )
    parser.add_argument("--name", default="mine", help="the release's name (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=None, help="where checkpoints go (default: training/NAME at home)")
    parser.add_argument("--release", type=Path, default=None, help="where the release goes (default: below --work)")
    parser.add_argument("--release-now", action="store_true", help="only make a release of the newest checkpoint")
    defaults: dict[str, Any] = {field.name: field.default for field in fields(TrainingOptions)}
    for name, text in TEXTS.items():
        default = defaults[name]
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), default=default, help=f"{text} (default: %(default)s)")
    return parser
