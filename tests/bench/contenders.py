"""Runs three engines on the same work: ``wave(prompts, tokens)`` decodes so many tokens for each prompt at once.

Everything is bfloat16, end tokens are ignored. A wave reports the seconds to the moment every sequence had its first
token, and the seconds to the end. The prompts are new each time, so no cache of an earlier wave helps.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers

from calmops.engine.engine import Engine
from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams
from tests.support.engine.engine_settings import engine_settings

CONTEXT_TOKENS = 256
Prompts = list[list[int]]


@dataclass(frozen=True, slots=True)
class Wave:
    """Holds how long one wave took. Times are seconds from its start."""

    sequences: int
    tokens: int  # of each sequence
    first_s: float  # every sequence had its first token
    end_s: float
    ttft_s: tuple[float, ...] = ()  # of each sequence, where the engine reports it
    itl_s: tuple[float, ...] = ()  # between a sequence's tokens from first_s on, where the engine reports it
    late: int = 0  # tokens emitted after first_s; 0 means sequences * (tokens - 1)

    @property
    def tokens_per_s(self) -> float:
        """Return the rate over the whole wave, its prompts included."""
        return self.sequences * self.tokens / self.end_s

    @property
    def decode_tokens_per_s(self) -> float:
        """Return the rate from the moment every sequence had its first token."""
        return (self.late or self.sequences * (self.tokens - 1)) / (self.end_s - self.first_s)


class Contender(Protocol):
    """Decodes waves of prompts, which are timed."""

    def wave(self, prompts: Prompts, tokens: int) -> Wave:
        """Decode ``tokens`` tokens for each prompt, all prompts together."""
        ...


def prompts(seed: str, count: int, length: int, vocabulary: int) -> Prompts:
    """Return ``count`` prompts of random ids without special ones; the same for the same seed."""
    rng = random.Random(seed)
    return [[rng.randrange(16, vocabulary) for _ in range(length)] for _ in range(count)]


class Calmops:
    """Runs calmops' engine alone: no Ray, no HTTP, no telemetry."""

    def __init__(self, release: Path, temperature: float = 0.0, **engine: Any) -> None:
        options: dict[str, Any] = {"dtype": "bfloat16", "kv_blocks": 1024, "max_sequences": 64, **engine}
        settings = engine_settings(folder=release, **options)
        self._engine = Engine.load(settings, lambda _: None)
        self._temperature = temperature
        self._waves = 0

    def wave(self, prompts: Prompts, tokens: int) -> Wave:
        self._waves += 1
        began_s = time.perf_counter()
        for number, prompt in enumerate(prompts):
            self._engine.submit(self._placement(number, prompt, tokens))
        first_s: dict[str, float] = {}
        last_s: dict[str, float] = {}
        itl_s: list[float] = []
        late = all_first_s = end_s = 0.0
        while (step := self._engine.step()) is not None:
            end_s = time.perf_counter() - began_s
            emitted = [delta for deltas in step.deltas.values() for delta in deltas if delta.token_ids]
            late += sum(len(delta.token_ids) for delta in emitted) if len(first_s) == len(prompts) else 0
            if len(first_s) == len(prompts):
                itl_s += [end_s - last_s[delta.request_id] for delta in emitted if delta.request_id in last_s]
            last_s |= {delta.request_id: end_s for delta in emitted}
            first_s |= {delta.request_id: end_s for delta in emitted if delta.request_id not in first_s}
        all_first_s = max(first_s.values())
        return Wave(len(prompts), tokens, all_first_s, end_s, tuple(first_s.values()), tuple(itl_s), int(late))

    def _placement(self, number: int, prompt: list[int], tokens: int) -> Placement:
        params = SamplingParams(max_tokens=tokens, temperature=self._temperature, seed=number, loop_guard=False)
        return Placement(
            request_id=f"bench-{self._waves}-{number}", model="bench", attempt=1, gateway_id="bench",
            stream_token=number, prompt_ids=tuple(prompt), params=params, deadline_ns=time.time_ns() + 3600 * 10**9,
        )  # fmt: skip


class Transformers:
    """Runs transformers' ``generate`` on one batch, greedy, with its own dynamic cache."""

    def __init__(self, release: Path) -> None:
        loader: Any = transformers.AutoModelForCausalLM
        self._model: Any = loader.from_pretrained(release, dtype=torch.bfloat16, local_files_only=True).eval()

    def wave(self, prompts: Prompts, tokens: int) -> Wave:
        stamps_s: list[float] = []

        def stamp(ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
            stamps_s.append(time.perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool)

        batch = torch.tensor(prompts)
        began_s = time.perf_counter()
        with torch.inference_mode():
            out = self._model.generate(
                batch, attention_mask=torch.ones_like(batch), max_new_tokens=tokens, min_new_tokens=tokens,
                do_sample=False, stopping_criteria=transformers.StoppingCriteriaList([stamp]),
            )  # fmt: skip
        end_s = time.perf_counter() - began_s
        assert out.shape[1] == batch.shape[1] + tokens, "generate stopped early"
        return Wave(len(prompts), tokens, stamps_s[0] - began_s, end_s)


class LlamaCpp:
    """Runs llama.cpp through llama-cpp-python's binding of its C API: one batch per step, argmax in numpy."""

    def __init__(
        self, model: Path, threads: int = 1, *, flash: bool | None = None, unified: bool | None = None
    ) -> None:
        """``flash``: use flash attention; ``unified``: one KV buffer for all sequences; None: llama.cpp chooses."""
        import llama_cpp

        self._c: Any = llama_cpp
        self._threads, self._flash, self._unified = threads, flash, unified
        self._c.llama_backend_init()
        self._c.llama_log_set(_quiet(llama_cpp), None)
        self._model = self._c.llama_model_load_from_file(str(model).encode(), self._c.llama_model_default_params())
        assert self._model, f"llama.cpp did not load {model}"
        self._vocabulary = int(self._c.llama_vocab_n_tokens(self._c.llama_model_get_vocab(self._model)))

    def wave(self, prompts: Prompts, tokens: int) -> Wave:
        context = self._context(len(prompts))
        batch = self._c.llama_batch_init(sum(map(len, prompts)), 0, 1)
        began_s = time.perf_counter()
        rows = [
            (token, position, sequence, position == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for position, token in enumerate(prompt)
        ]
        tokens_now = self._step(context, batch, rows)
        first_s = time.perf_counter() - began_s
        for position in range(len(prompts[0]), len(prompts[0]) + tokens - 1):
            rows = [(token, position, sequence, True) for sequence, token in enumerate(tokens_now)]
            tokens_now = self._step(context, batch, rows)
        end_s = time.perf_counter() - began_s
        self._c.llama_batch_free(batch)
        self._c.llama_free(context)
        return Wave(len(prompts), tokens, first_s, end_s)

    def _context(self, sequences: int, tokens: int = CONTEXT_TOKENS) -> Any:
        """Return a new context for ``sequences`` sequences of at most ``tokens`` tokens each."""
        params = self._c.llama_context_default_params()
        params.n_ctx = tokens * sequences
        params.n_batch, params.n_ubatch, params.n_seq_max = tokens * sequences, 512, sequences
        params.n_threads = params.n_threads_batch = self._threads
        if self._flash is not None:
            params.flash_attn_type = int(self._flash)
        if self._unified is not None:
            params.kv_unified = self._unified
        context = self._c.llama_init_from_model(self._model, params)
        assert context, "llama.cpp made no context"
        return context

    def _step(self, context: Any, batch: Any, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """Run rows of (token, position, sequence, wanted); return the likeliest token of each wanted row, in order."""
        import numpy as np

        batch.n_tokens = len(rows)
        wanted = []
        for row, (token, position, sequence, is_wanted) in enumerate(rows):
            batch.token[row], batch.pos[row], batch.logits[row] = token, position, is_wanted
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
            wanted += [row] if is_wanted else []
        assert self._c.llama_decode(context, batch) == 0, "llama_decode failed"
        views = (self._c.llama_get_logits_ith(context, row) for row in wanted)
        return [int(np.argmax(np.ctypeslib.as_array(view, shape=(self._vocabulary,)))) for view in views]


_CALLBACKS: list[Any] = []  # C callbacks, which must stay alive as long as llama.cpp may call them


def _quiet(llama_cpp: Any) -> Any:
    callback = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
    _CALLBACKS.append(callback)
    return callback
