"""`calmops train` makes a release from a folder of text, or measures the figures of a release's card again.

Training's modules, and torch with them, are loaded only when the command runs.
"""

from pathlib import Path
from typing import Any

import typer

from calmops.cli.output import AS_JSON, print_json, progress
from calmops.foundation import paths
from calmops.foundation.errors import InputError

TOLERANCE_BITS = 5e-4  # a card's figures have three decimals
CORPUS = typer.Option(
    None, "--corpus", help="Folder of text, or .tar.xz archive of one. Default: Python's standard library."
)
WORK = typer.Option(
    None, "--work", help="Folder for checkpoints and losses. Default: training/RELEASE in the state folder."
)
RELEASE = typer.Option(Path("release"), "--release", help="Folder that gets the finished model.")
CHECK = typer.Option(None, "--check", help="Train nothing; measure this release's card figures again (minutes).")
NOW = typer.Option(False, "--release-now", help="Train no further; make a release of the run's newest checkpoint.")


def _count(flag: str, text: str) -> Any:
    return typer.Option(None, flag, min=1, help=text)


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def train(
        corpus: Path | None = CORPUS,
        work: Path | None = WORK,
        release: Path = RELEASE,
        steps: int | None = _count("--steps", "Training steps in all."),
        batch_tokens: int | None = _count("--batch-tokens", "Tokens per step."),
        vocabulary: int | None = _count("--vocabulary", "Most entries of the tokenizer."),
        hidden: int | None = _count("--hidden", "Channels; 64 for each head."),
        intermediate: int | None = _count("--intermediate", "Channels inside the feed-forward part."),
        layers: int | None = _count("--layers", "Number of layers."),
        heads: int | None = _count("--heads", "Query heads of 64 channels."),
        kv_heads: int | None = _count("--kv-heads", "Key and value heads; an even number."),
        context: int | None = _count("--context", "Window of the model in tokens; at least 1024."),
        peak_rate: float | None = typer.Option(None, "--peak-rate", help="Highest learning rate."),
        dtype: str | None = typer.Option(None, "--dtype", help="bfloat16 (with float32 master weights) or float32."),
        seed: int | None = _count("--seed", "Seed of the weights and of the order of the data."),
        checkpoint_every: int | None = _count("--checkpoint-every", "Steps between checkpoints."),
        threads: int | None = _count("--threads", "CPU threads."),
        now: bool = NOW,
        check: Path | None = CHECK,
        as_json: bool = AS_JSON,
    ) -> None:
        """Train a small model on a folder of text.

        Trains a tokenizer and a Llama-family model, and writes a release with its model card. A run that was cut off
        goes on from its newest checkpoint when it is started again. Options that aren't given have the values that made
        the shipped model.
        """
        if check is not None:
            _check(check, corpus, as_json=as_json)
            return
        given = {
            "steps": steps, "batch_tokens": batch_tokens, "vocabulary": vocabulary, "hidden": hidden,
            "intermediate": intermediate, "layers": layers, "heads": heads, "kv_heads": kv_heads, "context": context,
            "peak_rate": peak_rate, "dtype": dtype, "seed": seed, "checkpoint_every": checkpoint_every,
            "threads": threads,
        }  # fmt: skip
        folder = work if work is not None else paths.folder("training") / release.name
        figures = _train(
            corpus, folder, release, {name: value for name, value in given.items() if value is not None}, now
        )
        if as_json:
            print_json(figures)
        else:
            typer.echo(f"{release}: {_summary(figures)}")


def _train(corpus: Path | None, work: Path, release: Path, given: dict[str, Any], now: bool) -> dict[str, Any]:
    import msgspec

    from calmops.training.train import release_now, train
    from calmops.training.training_options import TrainingOptions

    options = TrainingOptions(work=work, release=release, corpus=corpus, **given)
    figures: dict[str, Any] = msgspec.to_builtins((release_now if now else train)(options))
    return figures


def _summary(figures: dict[str, Any]) -> str:
    held_out = (
        f"{figures['bits_per_byte']:.3f} bits per byte on held-out files, a 5-gram {figures['ngram_bits_per_byte']:.3f}"
    )
    return f"{figures['parameters']} parameters, {figures['tokens_seen']} tokens seen; {held_out}"


def _check(release: Path, corpus: Path | None, *, as_json: bool) -> None:
    """Measure a release's card again and exit; exit code 1 means that a figure differs."""
    from calmops.training.card.card_figures import digest_matches, measure, read_figures
    from calmops.training.dataset import read_corpus

    stated = read_figures(release)
    with progress(f"Reading the corpus {corpus or 'of the standard library'}"):
        documents = read_corpus(corpus)
    if not digest_matches(stated, documents):
        raise InputError(
            f"{release}: its card is about another corpus (digest {stated.corpus_digest}); name it with --corpus"
        )
    with progress("Measuring bits per byte of the model and of a Kneser-Ney 5-gram, some minutes"):
        measured = measure(release, documents)
    rows = {
        "bits_per_byte": (stated.bits_per_byte, measured.model),
        "subset_bits_per_byte": (stated.subset_bits_per_byte, measured.subset),
        "ngram_bits_per_byte": (stated.ngram_bits_per_byte, measured.ngram),
    }
    same = all(abs(card - now) <= TOLERANCE_BITS for card, now in rows.values())
    if as_json:
        print_json({name: {"stated": card, "measured": now} for name, (card, now) in rows.items()} | {"same": same})
    else:
        for name, (card, now) in rows.items():
            typer.echo(f"{name}: stated {card:.4f}, measured {now:.4f}")
    raise typer.Exit(0 if same else 1)
