"""Makes one tiny llama checkpoint for all engine tests, and lets Triton interpret, since there may be no GPU."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported

from calmops.engine.batch_invariance import choose_products
from tests.support.engine.tiny_checkpoints import make_checkpoint

choose_products()  # before any test multiplies


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")
