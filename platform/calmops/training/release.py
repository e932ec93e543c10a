"""A checkpoint becomes a release: weights, tokenizer, digests, figures, picture and card in one folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from calmops.training.card.card import write_card
from calmops.training.card.card_figures import CardFigures, Sample, measure, write_figures
from calmops.training.card.loss_plot import write_curve
from calmops.training.data.corpus import Corpus, Document, manifest, manifest_digest
from calmops.training.data.tokenizer import ASSISTANT, BEGIN, Turn, encode_chat, encode_file, plain_ids, special_id
from calmops.training.dataset import Dataset, shape_of
from calmops.training.export import export_release
from calmops.training.loop import checkpoint
from calmops.training.model import new_model, parameter_count
from calmops.training.training_options import TrainingOptions

CURVE_FILE = "loss.png"
MANIFEST_FILE = "corpus.json"
SAMPLE_TOKENS = 96
SAMPLED_TEMPERATURE = 0.7
SAMPLE_SEED = 7
PROMPTS = ("import os\nimport sys\n\n\ndef ", 'class Queue:\n    """', "    def __init__(self, ")
CHATS = (
    'def is_empty(self):\n    """Return True if the queue is empty."""',
    "Write a Python function named join_path. Join two paths, inserting '/' as needed.",
)


def release_checkpoint(options: TrainingOptions, dataset: Dataset) -> CardFigures:
    """Make ``options.release`` from the newest checkpoint in ``options.work``, finished or not."""
    model = new_model(shape_of(options, dataset.tokenizer.get_vocab_size()), options.seed)
    losses = checkpoint.load_weights(model, options.work)
    folder = options.release
    folder.mkdir(parents=True, exist_ok=True)
    export_release(model, dataset.tokenizer, folder, dtype=torch.bfloat16)
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest(dataset.corpus), indent=1) + "\n")
    write_curve(losses, folder / CURVE_FILE, batch_tokens=options.batch_tokens)
    torch.nn.Module.to(model, torch.bfloat16)
    torch.nn.Module.to(model, torch.float32).eval()
    figures = _figures(options, dataset, model, losses)
    write_figures(figures, folder)
    write_card(figures, folder, curve=Path(CURVE_FILE))
    return figures


def _figures(
    options: TrainingOptions, dataset: Dataset, model: LlamaForCausalLM, losses: Sequence[float]
) -> CardFigures:
    corpus = dataset.corpus
    bits = measure(options.release, corpus)
    return CardFigures(
        corpus=_corpus_name(options),
        corpus_digest=manifest_digest(corpus),
        training_files=len(corpus.training),
        training_bytes=_bytes(corpus.training),
        training_tokens=sum(map(len, dataset.files)),
        chat_samples=len(dataset.chats),
        chat_tokens=sum(map(len, dataset.chats)),
        held_out_files=len(corpus.held_out),
        held_out_bytes=_bytes(corpus.held_out),
        held_out_tokens=_held_out_tokens(corpus, dataset.tokenizer),
        parameters=parameter_count(model),
        steps=len(losses),
        planned_steps=options.steps,
        tokens_seen=len(losses) * options.batch_tokens,
        long_window_steps=max(0, len(losses) - options.phases()[0].steps),
        first_window=options.first_window,
        context=options.context,
        dtype=options.dtype,
        peak_rate=options.peak_rate,
        last_losses_mean=float(np.mean(losses[-50:])),
        bits_per_byte=bits.model,
        subset_bits_per_byte=bits.subset,
        ngram_bits_per_byte=bits.ngram,
        samples=_samples(model, dataset.tokenizer),
    )


def _corpus_name(options: TrainingOptions) -> str:
    if options.corpus is None or options.corpus.name == "stdlib.tar.xz":
        return "Python's standard library (without tests, encodings, lib2to3, idlelib and generated files)"
    return f"folder {options.corpus.name}"


def _bytes(documents: Sequence[Document]) -> int:
    return sum(len(document.text.encode()) for document in documents)


def _held_out_tokens(corpus: Corpus, tokenizer: Tokenizer) -> int:
    return sum(len(encode_file(tokenizer, document.text)) for document in corpus.held_out)


def _samples(model: LlamaForCausalLM, tokenizer: Tokenizer) -> list[Sample]:
    begin = special_id(tokenizer, BEGIN)
    answer = [special_id(tokenizer, ASSISTANT), *plain_ids(tokenizer, "\n")]
    given = [(prompt, [begin, *plain_ids(tokenizer, prompt)]) for prompt in PROMPTS]
    given += [(chat, [*encode_chat(tokenizer, [Turn("user", chat)]), *answer]) for chat in CHATS]
    samples = []
    for prompt, ids in given:
        for temperature in (0.0, SAMPLED_TEMPERATURE):
            text = _complete(model, tokenizer, ids, temperature)
            samples.append(Sample(prompt=prompt, temperature=temperature, seed=SAMPLE_SEED, text=text))
    return samples


def _complete(model: LlamaForCausalLM, tokenizer: Tokenizer, ids: list[int], temperature: float) -> str:
    torch.manual_seed(SAMPLE_SEED)
    generator: Any = model
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    with torch.inference_mode():
        out = generator.generate(torch.tensor([ids]), max_new_tokens=SAMPLE_TOKENS, use_cache=True, **how)
    return str(tokenizer.decode(out[0, len(ids) :].tolist(), skip_special_tokens=True))
