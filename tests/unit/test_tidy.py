"""Keep the house style by tests: who may import whom and which vendor, and how long files and functions may be."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CALMOPS = ROOT / "platform" / "calmops"
OUTER = ("actors", "dashboards", "alerts", "chaos")
SIX = ("intake", "routing", "streams", "decoding", "telemetry", "objectives")
BELOW = {"foundation", "messages"}

# Each part of calmops, and the parts it may import. The command line may import any of them.
MAY_IMPORT: dict[str, set[str]] = {
    "foundation": set(),
    "messages": {"foundation"},
    **{part: set(BELOW) for part in SIX},
    "engine": BELOW | {"decoding"},
    "training": BELOW | {"decoding", "engine"},
    "models": set(),
    "console": set(BELOW),
    "tracing": set(BELOW),
    "watching": BELOW | {"telemetry", "objectives", "console", "tracing"},
    "local_services": BELOW | {"objectives"},
    "cli": {*BELOW, *SIX, "engine", "training", "models", "local_services"},
}

# Each vendor, the folders where it may be imported, and how many files may (None: any number).
VENDORS: dict[str, tuple[tuple[str, ...], int | None]] = {
    "ray": (("actors", "chaos/faults"), None),
    "torch": (("platform/calmops/engine", "platform/calmops/training"), None),
    "transformers": (("platform/calmops/engine", "platform/calmops/training"), None),
    "tokenizers": (("platform/calmops/engine", "platform/calmops/training", "platform/calmops/intake"), None),
    "kafka": (("platform/calmops/telemetry/log/kafka_log.py",), 1),
    "zmq": (("platform/calmops/foundation/sockets.py",), 1),
    "grafana_client": (("dashboards",), 1),
    "opentelemetry": (("platform/calmops/tracing",), 1),
}
DEEPSPEED_FILES = {"platform/calmops/engine": 1, "platform/calmops/training": 1}

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 5
STANDARD_NAMES = {"token", "queue", "types", "platform", "operator", "signal", "code", "select", "parser"}
VAGUE_NAME = re.compile(r"(Manager|Helper|Utils?|Impl|Mixin)$|^Base[A-Z]")


def our_files() -> list[Path]:
    """Return every Python file that ships."""
    folders = [CALMOPS, *(ROOT / name for name in OUTER)]
    return sorted(file for folder in folders if folder.is_dir() for file in folder.rglob("*.py"))


def test_files_too() -> list[Path]:
    """Return every Python file here, tests and proofs included."""
    scripts = (file for file in (ROOT / "tests").rglob("*") if file.is_file() and is_python(file))
    return our_files() + sorted(scripts)


test_files_too.__test__ = False  # type: ignore[attr-defined]


def is_python(file: Path) -> bool:
    """Say whether a file is a Python module, or an executable that Python runs."""
    if file.suffix == ".py":
        return True
    if file.suffix or "__pycache__" in file.parts:
        return False
    with file.open("rb") as opened:
        return opened.readline().startswith(b"#!/usr/bin/env python3")


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imports_of(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the full dotted names that a file imports anywhere, with their lines."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(file)}:{node.lineno}: relative import; name it from the root"
            assert node.module is not None
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((str(given.value), node.lineno) for given in node.args if isinstance(given, ast.Constant))


def importers_of(vendor: str) -> list[str]:
    return [name_of(file) for file in our_files() if any(name.split(".")[0] == vendor for name, _ in imports_of(file))]


def test_platform_is_a_source_root_and_not_a_package() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists(), "it would shadow Python's own `platform`"


def test_parts_of_calmops_import_only_what_lies_below_them() -> None:
    wrong = []
    for file in CALMOPS.rglob("*.py"):
        part = file.relative_to(CALMOPS).parts[0]
        if part == "__init__.py":
            continue
        assert part in MAY_IMPORT, f"platform/calmops/{part}: a part that the design doesn't name"
        for name, line in imports_of(file):
            target = name.split(".")
            if target[0] == "calmops" and len(target) > 1 and target[1] not in MAY_IMPORT[part] | {part}:
                wrong.append(f"{name_of(file)}:{line}: {part} imports {name}")
    assert not [entry for entry in wrong if "__version__" not in entry]


def test_calmops_never_imports_a_shell_and_shells_never_import_each_other() -> None:
    wrong = []
    for file in our_files():
        own = file.relative_to(ROOT).parts[0]
        for name, line in imports_of(file):
            top = name.split(".")[0]
            if top in {*OUTER, "tests"} and top != own:
                wrong.append(f"{name_of(file)}:{line}: imports {name}")
    assert not wrong


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_is_imported_only_where_it_belongs(vendor: str) -> None:
    allowed, most = VENDORS[vendor]
    importers = importers_of(vendor)
    strays = [name for name in importers if not any(name == place or name.startswith(f"{place}/") for place in allowed)]
    assert not strays, f"{vendor} belongs in {allowed}"
    assert most is None or len(importers) <= most, f"{vendor} is imported by {importers}; {most} file may"


def test_deepspeed_is_imported_by_one_file_of_the_engine_and_one_of_training() -> None:
    importers = importers_of("deepspeed")
    for folder, most in DEEPSPEED_FILES.items():
        inside = [name for name in importers if name.startswith(f"{folder}/")]
        assert len(inside) <= most, f"{folder}: DeepSpeed is imported by {inside}"
        importers = [name for name in importers if name not in inside]
    assert not importers


def test_files_are_at_most_300_lines() -> None:
    lengths = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in test_files_too()}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}


def test_functions_are_at_most_50_lines_except_those_that_register_commands() -> None:
    wrong = []
    for file in test_files_too():
        for node in functions_of(tree_of(file)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            own = lines - sum((inner.end_lineno or 0) - inner.lineno + 1 for inner in inner_functions(node))
            if own > MAX_FUNCTION_LINES:
                wrong.append(f"{name_of(file)}:{node.lineno}: {node.name} has {own} lines of its own")
    assert not wrong


def test_functions_take_at_most_5_parameters_except_commands_and_gpu_kernels() -> None:
    wrong = []
    for file in our_files():
        for node in functions_of(tree_of(file)):
            count = len([name for name in parameters_of(node) if name not in {"self", "cls"}])
            if count > MAX_PARAMETERS and not is_endpoint(node):
                wrong.append(f"{name_of(file)}:{node.lineno}: {node.name} takes {count}")
    assert not wrong


def test_the_environment_is_read_in_foundation_alone() -> None:
    wrong = []
    for file in our_files():
        if file.is_relative_to(CALMOPS / "foundation"):
            continue
        wrong += [f"{name_of(file)}:{line}" for line in environment_reads(tree_of(file))]
    assert not wrong


def test_no_file_bears_a_standard_modules_name_and_no_class_a_vague_one() -> None:
    files = [name_of(file) for file in our_files() if file.stem in STANDARD_NAMES]
    classes = [
        f"{name_of(file)}:{node.lineno}: {node.name}"
        for file in our_files()
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ClassDef) and VAGUE_NAME.search(node.name)
    ]
    assert not files + classes


def test_every_module_says_where_it_stands() -> None:
    silent = [name_of(file) for file in our_files() if not ast.get_docstring(tree_of(file))]
    assert not silent


def test_nothing_is_left_to_do() -> None:
    mark = re.compile(r"#.*\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b")
    left = [
        f"{name_of(file)}:{number}"
        for file in test_files_too()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if mark.search(line)
    ]
    assert not left


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def inner_functions(outer: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions directly inside another one: they are counted on their own, not with it."""
    for node in ast.iter_child_nodes(outer):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        else:
            yield from inner_functions(node)


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    parameters = node.args
    return [parameter.arg for parameter in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs)]


def is_endpoint(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Say whether it is a command, whose signature is its options, or a GPU kernel.

    The latter takes nothing but pointers and strides.
    """
    return any(re.search(r"\.command\(|^triton\.jit", ast.unparse(decorator)) for decorator in node.decorator_list)


def environment_reads(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that read os.environ.

    To set a variable, or to hand the whole on to a child process, is no read.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.getenv", "os.environ.get", "environ.get"}:
            yield node.lineno
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            if ast.unparse(node.value) in {"os.environ", "environ"}:
                yield node.lineno
        elif isinstance(node, ast.Compare) and any("os.environ" in ast.unparse(side) for side in node.comparators):
            yield node.lineno
