"""The figures of a model's card are measured here and kept as ``training.json`` beside the weights.

They can be measured again. This module knows a release folder and a corpus, and nothing of how the card words them.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from calmops.foundation.errors import InputError
from calmops.training.card.evaluate import bits_per_byte, kneser_ney_bits, model_bits
from calmops.training.card.kneser_ney import KneserNey
from calmops.training.data.corpus import Corpus, Document, manifest_digest
from calmops.training.data.tokenizer import encode_file

FIGURES_FILE = "training.json"
NGRAM_ORDER = 5
SUBSET_MAX_BYTES = 5_000


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Holds one completion as it came. ``temperature`` 0 is greedy; the model or the limit ended ``text``."""

    prompt: str
    temperature: float
    seed: int
    text: str


class CardFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Holds what a card states. Bits per byte are over every held-out file; the subset is the smallest of them."""

    corpus: str
    corpus_digest: str
    training_files: int
    training_bytes: int
    training_tokens: int
    chat_samples: int
    chat_tokens: int
    held_out_files: int
    held_out_bytes: int
    held_out_tokens: int
    parameters: int
    steps: int
    planned_steps: int
    tokens_seen: int
    long_window_steps: int
    first_window: int
    context: int
    dtype: str
    peak_rate: float
    last_losses_mean: float
    bits_per_byte: float
    subset_bits_per_byte: float
    ngram_bits_per_byte: float
    samples: list[Sample]


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """Holds the measurements on held-out files, in bits per byte."""

    model: float
    subset: float
    ngram: float


def read_figures(folder: Path) -> CardFigures:
    """Read the figures beside a release. Raises InputError if there are none or they are malformed."""
    path = folder / FIGURES_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=CardFigures)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} holds no figures of a training: {error}") from error


def write_figures(figures: CardFigures, folder: Path) -> None:
    """Write ``figures`` beside the release in ``folder``."""
    (folder / FIGURES_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")


def measure(folder: Path, corpus: Corpus) -> HeldOut:
    """Measure all three figures of the release in ``folder``: some minutes for the shipped model on one core."""
    tokenizer = read_tokenizer(folder)
    encoded = [encode_file(tokenizer, document.text) for document in corpus.training]
    ngrams = KneserNey(encoded, order=NGRAM_ORDER, vocabulary=tokenizer.get_vocab_size())
    held_out = [encode_file(tokenizer, document.text) for document in corpus.held_out]
    texts = [document.text for document in corpus.held_out]
    return HeldOut(
        model=measure_model(folder, corpus.held_out),
        subset=measure_model(folder, subset(corpus)),
        ngram=bits_per_byte(lambda ids: kneser_ney_bits(ngrams, ids), held_out, texts),
    )


def measure_model(folder: Path, documents: Sequence[Document]) -> float:
    """Return the bits per byte of the release's weights, computed in float32, over ``documents``."""
    tokenizer = read_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    window = int(model.config.max_position_embeddings)
    encoded = [encode_file(tokenizer, document.text) for document in documents]
    return bits_per_byte(
        lambda ids: model_bits(model, ids, window=window), encoded, [document.text for document in documents]
    )


def subset(corpus: Corpus) -> list[Document]:
    """Return the held-out files of at most SUBSET_MAX_BYTES bytes, or else the smallest one: a quick measurement."""
    small = [d for d in corpus.held_out if len(d.text.encode()) <= SUBSET_MAX_BYTES]
    return small or [min(corpus.held_out, key=lambda d: len(d.text))]


def digest_matches(figures: CardFigures, corpus: Corpus) -> bool:
    """Return whether ``corpus`` is the one that the card is about."""
    return manifest_digest(corpus) == figures.corpus_digest


def read_tokenizer(folder: Path) -> Tokenizer:
    """Return the release's tokenizer."""
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
