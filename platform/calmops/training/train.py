"""`calmops train`: a folder of text in, a release out. The one place where training's parts meet."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer

from calmops.training import deepspeed_loop
from calmops.training.batches import Batches
from calmops.training.chat_samples import conversations
from calmops.training.corpus import Corpus, archive_files, build_corpus, folder_files, manifest, stdlib_files
from calmops.training.model import Shape, new_model
from calmops.training.options import TrainingOptions
from calmops.training.tokenizer import encode_chat, encode_file, save_tokenizer, train_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A corpus as a model sees it. ``files`` and ``chats`` are token ids, one list a document or conversation."""

    corpus: Corpus
    tokenizer: Tokenizer
    files: list[list[int]]
    chats: list[list[int]]


def read_corpus(source: Path | None) -> Corpus:
    """The corpus of a folder, of an archive (.xz) or, for None, of Python's standard library."""
    return build_corpus(_files(source))


def prepare(options: TrainingOptions) -> Prepared:
    """Read the corpus, train the tokenizer on its training split, encode both; deterministic."""
    corpus = read_corpus(options.corpus)
    tokenizer = train_tokenizer((document.text for document in corpus.training), options.vocabulary)
    return Prepared(
        corpus=corpus,
        tokenizer=tokenizer,
        files=[encode_file(tokenizer, document.text) for document in corpus.training],
        chats=[encode_chat(tokenizer, turns) for turns in conversations(corpus.training)],
    )


def train(options: TrainingOptions) -> list[float]:
    """Train a model and write checkpoints and the loss log into ``options.work``; goes on where a run was cut off.

    Returns the loss of every step in nats a token.
    """
    prepared = prepare(options)
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / "manifest.json").write_text(json.dumps(manifest(prepared.corpus), indent=1) + "\n")
    save_tokenizer(prepared.tokenizer, options.work, context=options.context)
    batches = Batches(
        [*prepared.files, *prepared.chats],
        options.phases(),
        batch_tokens=options.batch_tokens,
        seed=options.seed,
    )
    model = new_model(shape_of(options, prepared.tokenizer.get_vocab_size()), options.seed)
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.3f} nats a token"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("training", total=options.steps, loss=float("nan"))

        def report(done: deepspeed_loop.Progress) -> None:
            bar.update(task, completed=done.step, loss=done.loss)

        losses = deepspeed_loop.run_steps(model, batches, options, report)
    return losses


def shape_of(options: TrainingOptions, vocabulary: int) -> Shape:
    """The model's sizes, its vocabulary as large as the tokenizer turned out."""
    return Shape(
        vocabulary=vocabulary,
        hidden=options.hidden,
        intermediate=options.intermediate,
        layers=options.layers,
        heads=options.heads,
        kv_heads=options.kv_heads,
        context=options.context,
    )


def _files(source: Path | None) -> Iterator[tuple[str, bytes]]:
    if source is None:
        return stdlib_files()
    return archive_files(source) if source.suffix == ".xz" else folder_files(source)
