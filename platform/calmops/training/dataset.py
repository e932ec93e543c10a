"""A dataset is a corpus as a model sees it: tokenized, with chat samples.

The same files and options give the same dataset.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from calmops.foundation.errors import InputError
from calmops.training.data.chat_samples import conversations
from calmops.training.data.corpus import Corpus, archive_files, build_corpus, folder_files, stdlib_files
from calmops.training.data.tokenizer import encode_chat, encode_file, train_tokenizer
from calmops.training.model import Shape
from calmops.training.training_options import TrainingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Holds token ids of the training split in ``files`` and ``chats``: one list per document or conversation."""

    corpus: Corpus
    tokenizer: Tokenizer
    files: list[list[int]]
    chats: list[list[int]]


def prepare(options: TrainingOptions) -> Dataset:
    """Read the corpus, train the tokenizer on its training split, and encode files and chats."""
    corpus = read_corpus(options.corpus)
    tokenizer = train_tokenizer((document.text for document in corpus.training), options.vocabulary)
    return Dataset(
        corpus=corpus,
        tokenizer=tokenizer,
        files=[encode_file(tokenizer, document.text) for document in corpus.training],
        chats=[encode_chat(tokenizer, turns) for turns in conversations(corpus.training)],
    )


def read_corpus(source: Path | None) -> Corpus:
    """Return the corpus of a folder, of an archive (.xz) or, for None, of Python's standard library.

    Raises InputError if either split is empty.
    """
    corpus = build_corpus(_files(source))
    if not corpus.training or not corpus.held_out:
        raise InputError(
            f"corpus {source or 'stdlib'} gives {len(corpus.training)} training and {len(corpus.held_out)} held-out "
            "files; both are needed, so add more files"
        )
    return corpus


def shape_of(options: TrainingOptions, vocabulary: int) -> Shape:
    """Return the model's sizes, with a vocabulary as large as the tokenizer's."""
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
