"""The model card is README.md beside the weights; it is worded from the figures and nothing else."""

from pathlib import Path

from calmops.training.card.card_figures import CardFigures, Sample

CARD_FILE = "README.md"


def write_card(figures: CardFigures, folder: Path, *, curve: Path) -> None:
    """Write the card of the release in ``folder``; ``curve`` is the loss curve's picture, beside it."""
    (folder / CARD_FILE).write_text(card_text(figures, name=folder.name, curve=curve.name))


def card_text(figures: CardFigures, *, name: str, curve: str) -> str:
    """Return the card as Markdown."""
    parts = [
        _front(figures),
        f"# {name}\n",
        _what_it_is(figures),
        _training(figures, curve),
        _held_out(figures),
        "## Completions, as they came\n",
        "Not chosen from several; each is the first one drawn. Temperature 0 is greedy.\n",
        *(_sample(sample) for sample in figures.samples),
        _limits(figures),
    ]
    return "\n".join(parts)


def _front(figures: CardFigures) -> str:
    license_id = "psf-2.0" if _is_stdlib(figures) else "other"
    return f"---\nlicense: {license_id}\nlibrary_name: transformers\ntags: [code, llama]\n---\n"


def _is_stdlib(figures: CardFigures) -> bool:
    return figures.corpus.startswith("Python's standard library")


def _what_it_is(f: CardFigures) -> str:
    text = (
        f"A toy: a Llama of {f.parameters / 1e6:.2f} million parameters (tied embeddings counted once), trained from "
        "nothing on a small body of text. It is there so that everything around a model can be run, tested and "
        "measured with a real one. It writes text of the right shape, not working programs, and knows no facts.\n"
    )
    if f.steps < f.planned_steps:
        text += (
            f"\n**This is a checkpoint of an unfinished run:** step {f.steps} of {f.planned_steps}. "
            "Its learning rate had not come down yet.\n"
        )
    return text


def _training(f: CardFigures, curve: str) -> str:
    short = f.steps - f.long_window_steps
    steps = (
        f"{f.steps:,}: {short:,} with windows of {f.first_window} tokens, then {f.long_window_steps:,} with windows "
        f"of {f.context}"
    )
    optimizer = (
        f"AdamW under DeepSpeed, {f.dtype} with float32 master weights, peak rate {f.peak_rate:g}, warm-up, level, "
        "cosine decay"
    )
    rows = [
        ("corpus", f.corpus),
        ("digest of the corpus manifest (SHA-256)", f"`{f.corpus_digest}`"),
        ("training split", f"{f.training_files} files, {f.training_bytes:,} bytes, {f.training_tokens:,} tokens"),
        ("chat samples made from it", f"{f.chat_samples:,}, {f.chat_tokens:,} tokens"),
        ("held-out split", f"{f.held_out_files} files, {f.held_out_bytes:,} bytes, {f.held_out_tokens:,} tokens"),
        ("steps", steps),
        ("tokens seen", f"{f.tokens_seen:,} ({_epochs(f):.1f} times the training text and chat samples)"),
        ("optimizer", optimizer),
        ("training loss, mean of the last 50 steps", f"{f.last_losses_mean:.3f} nats per token"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        "## Training\n\n| | |\n|---|---|\n" + table + f"\n\n![loss curve]({curve})\n\n"
        "Files were cleaned, exact and near copies dropped, and split by file: a file is held out if its digest "
        "says so. The chat samples are documented functions of the training split, put as a request and its answer.\n"
    )


def _epochs(f: CardFigures) -> float:
    return f.tokens_seen / max(1, f.training_tokens + f.chat_tokens)


def _held_out(f: CardFigures) -> str:
    verdict = "better" if f.bits_per_byte < f.ngram_bits_per_byte else "**worse**"
    ratio = f.bits_per_byte / f.ngram_bits_per_byte
    return (
        "## Held out\n\n| model | bits per byte |\n|---|---|\n"
        f"| this one | {f.bits_per_byte:.4f} |\n"
        f"| Kneser-Ney 5-gram over the same training files' tokens | {f.ngram_bits_per_byte:.4f} |\n\n"
        f"This model is {verdict} ({ratio:.3f} of the n-gram's bits). Both predict every token after a file's begin, "
        f"the end token included. This one sees at most {f.context} tokens, in windows that overlap by half; its "
        f"stored weights were computed in float32. On the smallest held-out files alone: "
        f"{f.subset_bits_per_byte:.4f}.\n"
    )


def _sample(sample: Sample) -> str:
    how = "greedy" if sample.temperature == 0 else f"temperature {sample.temperature:g}, seed {sample.seed}"
    fence = "````"
    return f"Prompt ({how}):\n{fence}\n{sample.prompt}\n{fence}\nCompletion:\n{fence}\n{sample.text}\n{fence}\n"


def _limits(f: CardFigures) -> str:
    text = (
        "## Limits and licence\n\nIt repeats itself, invents names and may recite its training text. "
        "No safety work of any kind was done.\n\n"
    )
    if _is_stdlib(f):
        text += (
            "Trained on Python's standard library, copyright Python Software Foundation, under the Python Software "
            "Foundation License Version 2 (kept with the corpus archive); the weights are offered under the same "
            "terms.\n"
        )
    else:
        text += "The licence of the weights follows from that of the corpus, which calmops doesn't know.\n"
    return text
