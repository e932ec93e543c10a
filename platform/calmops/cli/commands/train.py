"""`calmops train`: a folder of text in, a release out; and a shipped card's figures measured again.

The training part, and torch with it, is loaded only when the command runs.
"""

from pathlib import Path
from typing import Any

import typer

from calmops.cli.output import AS_JSON, print_json, progress
from calmops.foundation import paths
from calmops.foundation.errors import InputError

TOLERANCE_BITS = 5e-4  # a card's figures have three decimals
CORPUS = typer.Option(None, "--corpus", help="Folder of text or .tar.xz archive; default: Python's standard library.")
WORK = typer.Option(
    None, "--work", help="Checkpoints and loss curve; a run is resumed from here. Default: the state folder."
)
RELEASE = typer.Option(Path("release"), "--release", help="Folder that gets the finished model.")
CHECK = typer.Option(None, "--check", help="Measure this release's card figures again instead (some minutes a core).")
NOW = typer.Option(False, "--release-now", help="Release the newest checkpoint of a run, and train no further.")


def _size(flag: str, what: str) -> Any:
    return typer.Option(None, flag, min=1, help=f"{what}; default: what made the shipped model.")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def train(
        corpus: Path | None = CORPUS,
        work: Path | None = WORK,
        release: Path = RELEASE,
        steps: int | None = _size("--steps", "Optimizer steps"),
        batch_tokens: int | None = _size("--batch-tokens", "Tokens of one step"),
        vocabulary: int | None = _size("--vocabulary", "Size of the byte-level BPE vocabulary"),
        hidden: int | None = _size("--hidden", "Channels"),
        intermediate: int | None = _size("--intermediate", "Channels of the feed-forward layer"),
        layers: int | None = _size("--layers", "Layers"),
        heads: int | None = _size("--heads", "Attention heads"),
        kv_heads: int | None = _size("--kv-heads", "Key and value heads"),
        context: int | None = _size("--context", "Tokens of a window"),
        peak_rate: float | None = typer.Option(None, "--peak-rate", help="Peak learning rate."),
        dtype: str | None = typer.Option(None, "--dtype", help="bfloat16 or float32."),
        seed: int | None = _size("--seed", "Seed of weights and order"),
        checkpoint_every: int | None = _size("--checkpoint-every", "Steps between checkpoints"),
        threads: int | None = _size("--threads", "CPU threads"),
        now: bool = NOW,
        check: Path | None = CHECK,
        as_json: bool = AS_JSON,
    ) -> None:
        """Train a tokenizer and a small Llama-family model; a run that was cut off goes on where its checkpoints end."""
        if check is not None:
            _check(check, corpus, as_json=as_json)
            return
        given = {
            "steps": steps, "batch_tokens": batch_tokens, "vocabulary": vocabulary, "hidden": hidden,
            "intermediate": intermediate, "layers": layers, "heads": heads, "kv_heads": kv_heads, "context": context,
            "peak_rate": peak_rate, "dtype": dtype, "seed": seed, "checkpoint_every": checkpoint_every, "threads": threads,
        }  # fmt: skip
        folder = work if work is not None else paths.folder("training") / release.name
        figures = _train(
            corpus, folder, release, {name: value for name, value in given.items() if value is not None}, now
        )
        if as_json:
            print_json(figures)
        else:
            held = f"{figures['bits_per_byte']:.3f} bits a byte held out, a 5-gram {figures['ngram_bits_per_byte']:.3f}"
            typer.echo(f"{release}: {figures['parameters']} parameters, {figures['tokens_seen']} tokens seen; {held}")


def _train(corpus: Path | None, work: Path, release: Path, given: dict[str, Any], now: bool) -> dict[str, Any]:
    import msgspec

    from calmops.training.loop.training_options import TrainingOptions
    from calmops.training.train import release_now, train

    options = TrainingOptions(work=work, release=release, corpus=corpus, **given)
    figures: dict[str, Any] = msgspec.to_builtins((release_now if now else train)(options))
    return figures


def _check(release: Path, corpus: Path | None, *, as_json: bool) -> None:
    """Measure a release's card again; exit code 1 if a figure differs."""
    from calmops.training.card.card_figures import digest_matches, measure, read_figures
    from calmops.training.data.dataset import read_corpus

    stated = read_figures(release)
    with progress(f"Reading the corpus {corpus or 'of the standard library'}"):
        read = read_corpus(corpus)
    if not digest_matches(stated, read):
        raise InputError(
            f"{release}: its card is about another corpus (digest {stated.corpus_digest}); name it with --corpus"
        )
    with progress("Measuring bits a byte of the model and of a Kneser-Ney 5-gram, some minutes"):
        found = measure(release, read)
    rows = {
        "bits_per_byte": (stated.bits_per_byte, found.model),
        "subset_bits_per_byte": (stated.subset_bits_per_byte, found.subset),
        "ngram_bits_per_byte": (stated.ngram_bits_per_byte, found.ngram),
    }
    same = all(abs(said - seen) <= TOLERANCE_BITS for said, seen in rows.values())
    if as_json:
        print_json({name: {"stated": said, "measured": seen} for name, (said, seen) in rows.items()} | {"same": same})
    else:
        for name, (said, seen) in rows.items():
            typer.echo(f"{name}: stated {said:.4f}, measured {seen:.4f}")
    raise typer.Exit(0 if same else 1)
