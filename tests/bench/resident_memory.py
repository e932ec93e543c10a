"""Resident memory of one engine after a wave, less what its imports took: ``python -m tests.bench.resident_memory``.

Arguments: KIND RELEASE GGUF, KIND one of run.KINDS. Prints a number of bytes.
"""

import sys
from pathlib import Path

import psutil

from calmops.messages.plan import BLOCK_TOKENS
from tests.bench.contenders import CONTEXT_TOKENS, Calmops, LlamaCpp, prompts
from tests.bench.shape import VOCABULARY

SEQUENCES, TOKENS = 16, 64
KV_BLOCKS = SEQUENCES * CONTEXT_TOKENS // BLOCK_TOKENS  # what llama.cpp's context holds


def main() -> None:
    kind, release, gguf = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if kind == "llama.cpp":
        import llama_cpp  # noqa: F401  its import is taken off too
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
