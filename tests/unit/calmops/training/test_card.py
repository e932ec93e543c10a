from pathlib import Path

from calmops.training.card.card import card_text
from calmops.training.card.card_figures import digest_matches, read_figures
from calmops.training.card.loss_plot import write_curve
from calmops.training.dataset import read_corpus

ROOT = Path(__file__).resolve().parents[4]
RELEASE = ROOT / "platform" / "calmops" / "models" / "stdlib-5m"


def test_the_shipped_card_says_what_its_figures_say() -> None:
    assert (RELEASE / "README.md").read_text() == card_text(read_figures(RELEASE), name="stdlib-5m", curve="loss.png")


def test_the_shipped_card_is_about_the_archived_corpus() -> None:
    assert digest_matches(read_figures(RELEASE), read_corpus(ROOT / "tests" / "data" / "corpus" / "stdlib.tar.xz"))


def test_the_shipped_model_beats_the_ngrams_and_is_small() -> None:
    figures = read_figures(RELEASE)
    assert figures.bits_per_byte < figures.ngram_bits_per_byte
    assert (RELEASE / "model.safetensors").stat().st_size <= 16_000_000


def test_the_curve_is_a_picture(tmp_path: Path) -> None:
    write_curve([5.0, 4.0, 3.5], tmp_path / "loss.png", batch_tokens=2048)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
