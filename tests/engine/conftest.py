"""One tiny llama checkpoint for all engine tests."""

from pathlib import Path

import pytest

from tests.engine.tiny import make_checkpoint


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")
