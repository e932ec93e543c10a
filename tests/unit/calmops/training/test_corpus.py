import io
import tarfile
from pathlib import Path

import pytest

from calmops.foundation.errors import InputError
from calmops.training.data import corpus
from calmops.training.dataset import read_corpus

ROOT = Path(__file__).resolve().parents[4]
ARCHIVE = ROOT / "tests" / "data" / "corpus" / "stdlib.tar.xz"


def long_text(word: str, lines: int = 30) -> str:
    return "".join(f"{word}_number_{n} = compute_the_{word}({n})\n" for n in range(lines))


def test_cleaning_makes_one_kind_of_line_end_and_drops_control_characters() -> None:
    cases = {
        "a\r\nb\rc": "a\nb\nc\n",
        "\ufeffx = 1   \n\n\n\n\n\ny\x00\x07 = 2\t\n": "x = 1\n\n\ny = 2\n",
        "one\x0ctwo": "one\ntwo\n",
    }
    assert {raw: corpus.clean(raw) for raw in cases} == cases


def test_cleaning_twice_changes_nothing_more() -> None:
    once = corpus.clean("\n\n a \r\n\r\n\r\n\r\n b\x01 \f c ")
    assert corpus.clean(once) == once


def test_each_way_of_leaving_out_a_file_is_counted() -> None:
    body = long_text("alpha")
    made = corpus.build_corpus(
        [
            ("a.py", body.encode()),
            ("same.py", body.replace("\n", "\r\n").encode()),
            ("near.py", (body + "one_more_line_here = 1\n").encode()),
            ("blank.py", b" \n\n"),
            ("latin.py", b"\xe9\xff"),
            ("huge.py", b"x" * (corpus.MAX_FILE_BYTES + 1)),
            ("b.py", long_text("beta").encode()),
        ]
    )
    assert [d.path for d in sorted(made.training + made.held_out)] == ["a.py", "b.py"]
    assert made.left_out == {"too_large": 1, "not_utf8": 1, "empty": 1, "same_text": 1, "near_copy": 1}


def test_a_file_keeps_its_side_of_the_split_whatever_else_is_there() -> None:
    files = [(f"{n:03}.py", long_text(f"word{n}x").encode()) for n in range(120)]
    whole = corpus.build_corpus(files)
    part = corpus.build_corpus(files[::3])
    assert whole.held_out
    assert {d.path for d in part.held_out} <= {d.path for d in whole.held_out}
    assert {d.path for d in part.training} <= {d.path for d in whole.training}
    assert not {d.sha256 for d in whole.training} & {d.sha256 for d in whole.held_out}


def test_the_manifest_digest_follows_the_text() -> None:
    alpha = corpus.build_corpus([("a.py", long_text("alpha").encode())])
    gamma = corpus.build_corpus([("a.py", long_text("gamma").encode())])
    assert corpus.manifest_digest(alpha) != corpus.manifest_digest(gamma)
    assert corpus.manifest_digest(alpha) == corpus.manifest_digest(
        corpus.build_corpus([("a.py", long_text("alpha").encode())])
    )


def test_an_archive_gives_back_the_files_and_keeps_the_licence(tmp_path: Path) -> None:
    files = [("b/two.py", b"2\n"), ("a.py", b"1\n")]
    archive = tmp_path / "corpus.tar.xz"
    corpus.write_archive(files, archive, license_text="terms")
    assert list(corpus.archive_files(archive)) == sorted(files)
    with tarfile.open(archive) as tar:
        licence = tar.extractfile(corpus.ARCHIVE_LICENSE)
        assert isinstance(licence, io.BufferedReader)
        assert licence.read() == b"terms"


def test_the_same_files_give_the_same_archive_byte_for_byte(tmp_path: Path) -> None:
    for name in ("one.tar.xz", "two.tar.xz"):
        corpus.write_archive([("a.py", b"1\n")], tmp_path / name, license_text="terms")
    assert (tmp_path / "one.tar.xz").read_bytes() == (tmp_path / "two.tar.xz").read_bytes()


@pytest.mark.parametrize(
    "path", ["test/x.py", "json/tests/x.py", "_sysconfigdata__linux.py", "config-3.11-x/a.py", "encodings/cp1.py"]
)
def test_tests_tables_and_machine_settings_are_left_out_of_the_corpus(path: str) -> None:
    assert corpus.STDLIB_LEFT_OUT.search(path)


@pytest.mark.parametrize("path", ["json/decoder.py", "unittest/mock.py", "contest/a.py", "configparser.py"])
def test_the_library_itself_is_in_the_corpus(path: str) -> None:
    assert not corpus.STDLIB_LEFT_OUT.search(path)


def test_a_corpus_with_an_empty_split_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "only.py").write_text(long_text("alpha"))
    with pytest.raises(InputError, match=r"training and .* held-out files; both are needed"):
        read_corpus(tmp_path)


def test_a_missing_corpus_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder"):
        read_corpus(tmp_path / "nowhere")


def test_the_shipped_archive_is_small_and_names_its_licence() -> None:
    assert ARCHIVE.stat().st_size <= 10_000_000
    with tarfile.open(ARCHIVE) as tar:
        licence = tar.extractfile(corpus.ARCHIVE_LICENSE)
        assert licence is not None
        assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in licence.read().decode()
