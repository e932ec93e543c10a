"""Times engines on one thread, in turns, on the same prompts: calmops, transformers' ``generate`` and llama.cpp."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tests.bench import cores
from tests.bench.contenders import Calmops, Contender, LlamaCpp, Transformers, Wave, prompts
from tests.support.proofs import kit

LENGTH = 64


def contenders(release: Path, workspace: Path) -> tuple[dict[str, Contender], str]:
    """Return the engines that take part, and a remark on those that can't."""
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
    """Return waves by contender and number of sequences: one of each per pair, in ABBA order."""
    cores.pin_self(cores.ENGINE if pinned else cores.ALL)
    for contender in field.values():
        contender.wave(prompts("warm-up", 2, LENGTH, vocabulary), 4)
    waves: dict[tuple[str, int], list[Wave]] = {}
    for count in counts:
        for pair, name in kit.in_turns(list(field), pairs):
            # The prompts differ from wave to wave, because calmops has a prefix cache.
            wave = field[name].wave(prompts(f"{pinned}/{count}/{pair}", count, LENGTH, vocabulary), LENGTH)
            waves.setdefault((name, count), []).append(wave)
        cells = "; ".join(cell(waves[name, count], name) for name in field)
        print(f"{count} sequences, {'pinned' if pinned else 'unpinned'}: {cells}", flush=True)
    cores.pin_self(cores.ALL)
    return waves


def cell(waves: list[Wave], name: str = "") -> str:
    """Return the median tokens per second of whole waves, and in brackets the rate once every sequence had a token."""
    whole, decode = (
        kit.quantile(values, 0.5)
        for values in ([w.tokens_per_s for w in waves], [w.decode_tokens_per_s for w in waves])
    )
    return f"{name} {whole:.0f} ({decode:.0f})".strip()
