"""Steps a model on a GPU: transformers' modules over paged attention, replayed from CUDA graphs.

A step of few rows is bound by its launches, not by its arithmetic. So it is captured once for some numbers of rows, and
a plan runs through the smallest capture that holds it. Larger steps, and every step at a tp above 1, are launched as
they are. ``exact`` (guarantee G2) runs every step with the same number of rows: each product then has one shape, and a
row's bits don't depend on the batch.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from calmops.engine.attention import refuse_unknown_tensors, register
from calmops.engine.cache import KvCache
from calmops.engine.checkpoint import load_checkpoint
from calmops.engine.cuda.attention import MOST_SPLITS, AttentionOptions, RowSlots, attend, store
from calmops.engine.cuda.fused_layers import FusedRotary, fuse_norms
from calmops.engine.cuda.sampling import draw
from calmops.engine.cuda.step_inputs import StepInputs, capture_sizes
from calmops.engine.draw import Draw, Drawn
from calmops.engine.families import FIRST_STEP, check_every_layer
from calmops.engine.settings import EngineSettings
from calmops.foundation.errors import UnsupportedModel
from calmops.messages.plan import BLOCK_TOKENS, StepPlan

_log = logging.getLogger(__name__)
_ATTENTION = "calmops-paged-"
_LARGEST_CAPTURE = 512  # rows; beyond it arithmetic hides the launches
# Runs before a capture, on a stream of their own, in which libraries choose their kernels and take their memory.
_WARM_UPS = 2


class CudaBackend:
    """Holds one rank's model and cache on its GPU; see ``protocol.Backend``.

    Without a GPU it runs through Triton's interpreter, slowly.
    """

    def __init__(self, settings: EngineSettings, rank: int = 0) -> None:
        """Load, shard and capture. Raises ReleaseError or UnsupportedModel; for tp > 1 the world must be joined."""
        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._rank = rank
        self._device = torch.device(settings.device)
        model: Any
        model, self.release = load_checkpoint(settings)
        self._model = model
        self.config: Any = model.config
        self.fused_norms = fuse_norms(model)
        self.fused_rotary = FusedRotary(model)
        self.cache = KvCache(settings.kv_blocks)
        self._row_slots: RowSlots | None = None
        self.config._attn_implementation = register(_ATTENTION, self._attend)
        on_gpu = self._device.type == "cuda"
        self._processors = torch.cuda.get_device_properties(self._device).multi_processor_count if on_gpu else 1
        self._sizes = capture_sizes(settings.max_rows_per_step, exact=bool(settings.exact), largest=_LARGEST_CAPTURE)
        per_sequence = min(-(-self.context_tokens // BLOCK_TOKENS), settings.kv_blocks)
        self._inputs = StepInputs(
            self._device, rows=settings.max_rows_per_step, wanted=settings.max_sequences,
            blocks=settings.max_sequences * per_sequence, scratch_block=self.cache.scratch_block,
        )  # fmt: skip
        self._captured: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self.step(FIRST_STEP)
        check_every_layer(self.config, self.cache.layers)
        self._capture()

    @property
    def vocabulary(self) -> int:
        """Return the number of logits per row."""
        return int(self.config.vocab_size)

    @property
    def context_tokens(self) -> int:
        """Return the length of the longest sequence that the model's positions reach, in tokens."""
        return int(self.config.max_position_embeddings)

    @property
    def captured_rows(self) -> tuple[int, ...]:
        """Return the numbers of rows whose steps are replayed from a graph."""
        return tuple(sorted(self._captured))

    def step(self, plan: StepPlan) -> torch.Tensor | None:
        """Run one forward pass; see ``Backend``. The logits stay on the device and are valid until the next step."""
        rows, wanted = len(plan.tokens), len(plan.wanted_rows)
        self._inputs.put(plan)
        size = next((size for size in self._sizes if size >= rows), None)
        if size in self._captured:
            graph, logits = self._captured[size]
            graph.replay()
        elif self._settings.exact and size is not None:
            logits = self._forward(size, self._wanted_of(size))
        else:
            logits = self._forward(rows, wanted)
        # Without a token to read, nothing waits for the device, and the next step would be charged this one's time.
        if not wanted and self._device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        return logits[:wanted] if self._rank == 0 else None

    def sample(self, logits: torch.Tensor, draws: Sequence[Draw]) -> list[Drawn]:
        """Draw one token per row, on the device and for all rows together; see ``Backend``."""
        return draw(logits, draws)

    @torch.inference_mode()
    def _forward(self, rows: int, wanted: int) -> torch.Tensor:
        self._row_slots = self._inputs.row_slots(rows)
        with self.fused_rotary():
            logits: torch.Tensor = self._model(
                input_ids=self._inputs.tokens(rows)[None], position_ids=self._inputs.positions(rows)[None],
                use_cache=False, logits_to_keep=self._inputs.wanted(wanted),
            ).logits  # fmt: skip
        return logits[0].float()

    def _attend(
        self, module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, _mask: object = None, **options: Any
    ) -> tuple[torch.Tensor, None]:
        """Attend in place of each layer: q [1, H, T, D], k and v [1, Hkv, T, D] to [1, T, H, Dv]."""
        assert self._row_slots is not None, "attention outside a step"
        refuse_unknown_tensors(module, options)
        q, k, v = (tensor[0].transpose(0, 1) for tensor in (q, k, v))
        memory = self.cache.memory(int(module.layer_idx), k, v)
        if not q.shape[1]:  # a rank may hold no head at all
            return v.new_zeros((1, len(q), 0, v.shape[-1])), None
        scaling = options.get("scaling")
        attention_options = AttentionOptions(
            scaling=float(q.shape[-1] ** -0.5 if scaling is None else scaling),
            softcap=float(options.get("softcap") or 0.0),
            window=int(options.get("sliding_window") or 0),
            splits=self._splits(len(q), k.shape[1]),
        )
        store((k, v), memory, self._row_slots)
        return attend(q, memory, self._row_slots, attention_options)[None], None

    def _splits(self, rows: int, kv_heads: int) -> int:
        """Return into how many shares contexts are cut, so that a step of few rows keeps the whole GPU busy."""
        shares = max(1, 2 * self._processors // (rows * kv_heads))
        return min(MOST_SPLITS, 1 << shares.bit_length() - 1)  # a power of two

    def _wanted_of(self, size: int) -> int:
        """Return the number of rows with logits in a capture of ``size`` rows."""
        return min(size, self._settings.max_sequences)

    def _capture(self) -> None:
        """Capture every size of step, the largest first, whose memory the smaller ones share."""
        if self._device.type != "cuda" or self._settings.tp > 1:
            return  # DeepSpeed's all-reduce was never captured: steps that use it are launched as they are
        self._inputs.clear()
        warm_up = torch.cuda.Stream()
        try:
            for size in reversed(self._sizes):
                self._captured[size] = self._captured_step(size, warm_up)
        except torch.OutOfMemoryError as error:
            used = f"kv_blocks {self._settings.kv_blocks} take {self.cache.bytes() / 2**30:.1f} GiB"
            raise UnsupportedModel(
                f"the GPU's memory doesn't hold model, cache and steps: {used}; lower kv_blocks or max_sequences"
            ) from error
        except RuntimeError as error:
            self._captured.clear()
            torch.cuda.synchronize()
            what = f"a step of the model family {self.config.model_type!r} can't be captured in a CUDA graph"
            if self._settings.exact:
                raise UnsupportedModel(
                    f"exact needs captured steps, and {what}: set exact to false ({error})"
                ) from error
            _log.warning("%s, so its launches are made again for each step, which is slower: %s", what, error)

    @torch.inference_mode()
    def _captured_step(self, size: int, warm_up: torch.cuda.Stream) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
        wanted = self._wanted_of(size)
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(_WARM_UPS):
                self._forward(size, wanted)
        torch.cuda.current_stream().wait_stream(warm_up)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._captured.values()))[0].pool() if self._captured else None
        with torch.cuda.graph(graph, pool=pool):
            logits = self._forward(size, wanted)
        return graph, logits
