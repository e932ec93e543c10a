"""Intake reads what it needs of a release folder, and refuses a folder that can't be served."""

from pathlib import Path
from typing import Any

import pytest

from calmops.foundation.errors import ReleaseError
from calmops.intake.served_model import load_served
from tests.support.tokenizer_releases import CONTEXT, byte_level, write_folder


def test_a_release_folder_gives_limits_end_tokens_and_template(tmp_path: Path) -> None:
    model = load_served(write_folder(tmp_path), "tiny")
    assert (model.name, model.context, model.vocab_size) == ("tiny", CONTEXT, 512)
    assert model.end_ids == (byte_level().specials["<|end|>"],)
    assert model.template is not None and len(model.release_digest) == 64


def test_a_folder_with_a_changed_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ReleaseError, match=r"tokenizer\.json"):
        load_served(folder, "tiny")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"max_position_embeddings": None}, "context"),
        ({"vocab_size": 10}, "vocabulary"),
        ({"vocab_size": None}, "vocab"),
    ],
)
def test_a_config_that_cannot_be_served_is_refused(tmp_path: Path, config: dict[str, Any], words: Any) -> None:
    with pytest.raises(ReleaseError, match=words):
        load_served(write_folder(tmp_path, **config), "tiny")


def test_a_template_in_its_own_file_has_precedence(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("<|user|>{{ messages[0].content }}")
    model = load_served(write_folder(tmp_path), "tiny")
    assert model.template is not None
    assert byte_level().decode(model.template.render(({"role": "user", "content": "x"},))) == "<|user|>x"


def test_a_template_that_cannot_be_used_leaves_a_reason(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{% if %}")
    model = load_served(write_folder(tmp_path), "tiny")
    assert model.template is None and "chat template" in (model.no_chat or "")
