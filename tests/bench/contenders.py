"""Three engines that do the same: so many prompts at once, so many tokens each, bfloat16, end tokens ignored.

``wave(prompts, tokens)`` returns when each token count was reached: seconds to the moment every sequence had its first
token, and seconds to the end. The prompts are new each time, so no cache of an earlier wave helps.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers

from calmops.engine.engine import Engine
from calmops.engine.settings import EngineSettings
from calmops.messages.placement import Placement
from calmops.messages.request import SamplingParams

CONTEXT_TOKENS = 256
Prompts = list[list[int]]


@dataclass(frozen=True, slots=True)
class Wave:
    """How long one took. Times in seconds from its start."""

    sequences: int
    tokens: int  # of each sequence
    first_s: float  # every sequence had its first token
    end_s: float
    ttft_s: tuple[float, ...] = ()  # of each sequence, where the engine tells
    itl_s: tuple[
        float, ...
    ] = ()  # between one token and the next of a sequence from first_s on, where the engine tells
    late: int = 0  # tokens emitted after first_s; 0 means sequences * (tokens - 1)

    @property
    def tokens_per_s(self) -> float:
        """Over the whole wave, its prompts included."""
        return self.sequences * self.tokens / self.end_s

    @property
    def decode_tokens_per_s(self) -> float:
        """From the moment every sequence had its first token."""
        return (self.late or self.sequences * (self.tokens - 1)) / (self.end_s - self.first_s)


class Contender(Protocol):
    """What is timed."""

    def wave(self, prompts: Prompts, tokens: int) -> Wave:
        """Decode all prompts together."""
        ...


def prompts(seed: str, count: int, length: int, vocabulary: int) -> Prompts:
    """Random ids, special ones left out; the same for the same seed."""
    rng = random.Random(seed)
    return [[rng.randrange(16, vocabulary) for _ in range(length)] for _ in range(count)]


class Calmops:
    """The engine alone: no Ray, no HTTP, no telemetry."""

    def __init__(self, release: Path, temperature: float = 0.0, **engine: Any) -> None:
        chosen: dict[str, Any] = {"dtype": "bfloat16", "kv_blocks": 1024, "max_sequences": 64, **engine}
        settings = EngineSettings(folder=release, **chosen)
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
            emitted = [delta for mine in step.deltas.values() for delta in mine if delta.token_ids]
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
            request_id=f"bench-{self._waves}-{number}", model="bench", attempt=1, gateway_id="bench", stream_token=number,
            prompt_ids=tuple(prompt), params=params, deadline_ns=time.time_ns() + 3600 * 10**9,
        )  # fmt: skip


class Transformers:
    """``generate`` on one batch, greedy, with its own dynamic cache."""

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
    """llama.cpp through llama-cpp-python's own binding of its C API: one batch a step, argmax in numpy."""

    def __init__(
        self, model: Path, threads: int = 1, *, flash: bool | None = None, unified: bool | None = None
    ) -> None:
        """``flash``: its flash attention; ``unified``: one KV buffer for all sequences; None: as it chooses itself."""
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
        rows = sum(map(len, prompts))
        batch = self._c.llama_batch_init(rows, 0, 1)
        began_s = time.perf_counter()
        place = [
            (token, position, sequence, position == len(prompt) - 1)
            for sequence, prompt in enumerate(prompts)
            for position, token in enumerate(prompt)
        ]
        chosen = self._step(context, batch, place)
        first_s = time.perf_counter() - began_s
        for position in range(len(prompts[0]), len(prompts[0]) + tokens - 1):
            chosen = self._step(context, batch, [(token, position, s, True) for s, token in enumerate(chosen)])
        end_s = time.perf_counter() - began_s
        self._c.llama_batch_free(batch)
        self._c.llama_free(context)
        return Wave(len(prompts), tokens, first_s, end_s)

    def _context(self, sequences: int, tokens: int = CONTEXT_TOKENS) -> Any:
        """A context of that many sequences of that many tokens."""
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
        """Run (token, position, sequence, wanted) rows; the likeliest token of each wanted row, in order."""
        import numpy as np

        batch.n_tokens = len(rows)
        wanted = []
        for row, (token, position, sequence, want) in enumerate(rows):
            batch.token[row], batch.pos[row], batch.logits[row] = token, position, want
            batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
            wanted += [row] if want else []
        assert self._c.llama_decode(context, batch) == 0, "llama_decode failed"
        views = (self._c.llama_get_logits_ith(context, row) for row in wanted)
        return [int(np.argmax(np.ctypeslib.as_array(view, shape=(self._vocabulary,)))) for view in views]


_KEPT: list[Any] = []  # a C callback must outlive its use


def _quiet(llama_cpp: Any) -> Any:
    callback = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
    _KEPT.append(callback)
    return callback
