"""Engines on one thread, in turns: ours, transformers' ``generate`` and llama.cpp, the same prompts at once."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tests.bench import cores
from tests.bench.contenders import Calmops, Contender, LlamaCpp, Transformers, Wave, prompts
from tests.support.proofs import kit

LENGTH = 64


def contenders(release: Path, workspace: Path) -> tuple[dict[str, Contender], str]:
    """Who takes part, and a remark on who can't."""
    field: dict[str, Contender] = {"calmops": Calmops(release), "transformers": Transformers(release)}
    missing = [name for name in ("llama_cpp", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        remark = f"; llama.cpp left out: {' and '.join(missing)} not installed (pip install -e .[bench])"
        print(remark.removeprefix("; "), flush=True)
        return field, remark
    from tests.bench.gguf_from_release import convert

    field["llama.cpp"] = LlamaCpp(convert(release, workspace / "model.gguf"))
    return field, ""


def in_turns(
    field: dict[str, Contender], pairs: int, counts: Sequence[int], vocabulary: int, *, pinned: bool
) -> dict[tuple[str, int], list[Wave]]:
    """Waves by contender and number of sequences, ABBA: one a pair of each."""
    cores.pin_self(cores.ENGINE if pinned else cores.ALL)
    for contender in field.values():
        contender.wave(prompts("warm-up", 2, LENGTH, vocabulary), 4)
    waves: dict[tuple[str, int], list[Wave]] = {}
    for count in counts:
        for pair, name in kit.in_turns(list(field), pairs):
            given = prompts(f"{pinned}/{count}/{pair}", count, LENGTH, vocabulary)  # new ones: ours has a prefix cache
            waves.setdefault((name, count), []).append(field[name].wave(given, LENGTH))
        print(
            f"{count} sequences, {'pinned' if pinned else 'unpinned'}: {'; '.join(cell(waves[name, count], name) for name in field)}",
            flush=True,
        )
    cores.pin_self(cores.ALL)
    return waves


def cell(waves: list[Wave], name: str = "") -> str:
    """Median tokens per second of whole waves, and in brackets from the moment every sequence had its first token."""
    whole, decode = (
        kit.quantile(values, 0.5)
        for values in ([w.tokens_per_s for w in waves], [w.decode_tokens_per_s for w in waves])
    )
    return f"{name} {whole:.0f} ({decode:.0f})".strip()
