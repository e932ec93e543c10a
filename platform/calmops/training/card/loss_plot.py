"""This module draws the loss curve. It knows matplotlib and a list of numbers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

SMOOTHED_STEPS = 50


def write_curve(losses: Sequence[float], path: Path, *, batch_tokens: int) -> None:
    """Draw nats per token over tokens seen into ``path`` (.png or .svg): each step, and a running mean."""
    tokens = np.arange(1, len(losses) + 1) * batch_tokens / 1e6
    values = np.asarray(losses)
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(tokens, values, linewidth=0.4, alpha=0.5, color="tab:gray", label="each step")
    width = min(SMOOTHED_STEPS, len(values))
    if width:
        mean = np.convolve(values, np.full(width, 1.0 / width), mode="valid")
        axes.plot(tokens[width - 1 :], mean, color="tab:blue", label=f"mean of {width} steps")
    axes.set_xlabel("tokens seen (millions)")
    axes.set_ylabel("training loss (nats per token)")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})
