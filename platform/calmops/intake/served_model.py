"""Loads what intake knows of a served model: its limits, its tokenizer and its chat template. Knows no weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calmops.foundation.errors import ReleaseError, UnsupportedModel
from calmops.foundation.release import verify
from calmops.intake.template import ChatTemplate
from calmops.intake.tokenizing import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """Describes one model under the name that clients use."""

    name: str
    release_digest: str  # over every file of the release, hex
    context: int  # tokens, prompt and answer together
    vocab_size: int  # ids run from 0 to vocab_size - 1
    end_ids: tuple[int, ...]  # tokens that end an answer
    tokenizer: TextTokenizer
    template: ChatTemplate | None
    created: int  # Unix time, s
    no_chat: str | None = None  # why there is no template


def load_served(folder: Path, name: str) -> ServedModel:
    """Read a release folder (config.json, tokenizer.json, chat template); raise ReleaseError where it is none."""
    digest = verify(folder, tokenizer_only=True).digest
    config = _json(folder / "config.json")
    tokenizer = TextTokenizer.load(folder / "tokenizer.json", name)
    settings = _json(folder / "tokenizer_config.json", optional=True)
    template, no_chat = _template(folder, settings, tokenizer)
    context = config.get("max_position_embeddings") or config.get("n_positions") or config.get("n_ctx")
    if not isinstance(context, int) or context < 2:
        raise ReleaseError(f"{folder / 'config.json'}: no max_position_embeddings, so no context limit")
    if tokenizer.size > (config.get("vocab_size") or 0):
        raise ReleaseError(
            f"{folder}: the tokenizer has {tokenizer.size} tokens, the model's vocabulary {config.get('vocab_size')}"
        )
    return ServedModel(
        name=name,
        release_digest=digest,
        context=context,
        vocab_size=config["vocab_size"],
        end_ids=_end_ids(folder, config, settings, tokenizer),
        tokenizer=tokenizer,
        template=template,
        created=int((folder / "config.json").stat().st_mtime),
        no_chat=no_chat,
    )


def _json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    if optional and not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ReleaseError(f"{path}: must hold a JSON object, holds {type(document).__name__}")
    return document


def _token_text(value: Any) -> str | None:
    """Return the text of a special token, which tokenizer_config.json writes as a string or as {"content": ...}."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _template(
    folder: Path, settings: dict[str, Any], tokenizer: TextTokenizer
) -> tuple[ChatTemplate | None, str | None]:
    path = folder / "chat_template.jinja"
    source = path.read_text(encoding="utf-8") if path.exists() else settings.get("chat_template")
    if isinstance(source, list):  # several named templates: take the default one
        source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
    if not isinstance(source, str):
        return None, "its release has no chat template"
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    variables = {name: text for name in names if (text := _token_text(settings.get(name))) is not None}
    try:
        return ChatTemplate(source, tokenizer, variables), None
    except UnsupportedModel as error:
        return None, str(error)


def _end_ids(
    folder: Path, config: dict[str, Any], settings: dict[str, Any], tokenizer: TextTokenizer
) -> tuple[int, ...]:
    generation = _json(folder / "generation_config.json", optional=True)
    ids: set[int] = set()
    for value in (config.get("eos_token_id"), generation.get("eos_token_id")):
        ids.update(value if isinstance(value, list) else [] if value is None else [value])
    text = _token_text(settings.get("eos_token"))
    if text in tokenizer.specials:
        ids.add(tokenizer.specials[text])
    return tuple(sorted(ids))
