"""Prints the resident memory of one engine after a wave, in bytes, minus the memory that its imports took.

``python -m tests.bench.resident_memory KIND RELEASE GGUF``; KIND is one of run.KINDS.
"""

import sys
from pathlib import Path

import psutil

from calmops.messages.plan import BLOCK_TOKENS
from tests.bench.contenders import CONTEXT_TOKENS, Calmops, LlamaCpp, prompts
from tests.bench.shape import VOCABULARY

SEQUENCES, TOKENS = 16, 64
KV_BLOCKS = SEQUENCES * CONTEXT_TOKENS // BLOCK_TOKENS  # as many tokens as llama.cpp's context holds


def main() -> None:
    kind, release, gguf = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if kind == "llama.cpp":
        import llama_cpp  # noqa: F401  imported early, so that its memory is subtracted too
    before = psutil.Process().memory_info().rss
    if kind == "llama.cpp":
        engine: Calmops | LlamaCpp = LlamaCpp(gguf)
    elif kind == "transformers":
        engine = Calmops(release, kv_blocks=KV_BLOCKS, backend="transformers")
    else:
        engine = Calmops(
            release, kv_blocks=KV_BLOCKS, backend="kernel", quantize="int8" if kind.endswith("int8") else None
        )
    engine.wave(prompts("memory", SEQUENCES, TOKENS, VOCABULARY), 8)
    print(psutil.Process().memory_info().rss - before)


if __name__ == "__main__":
    main()
