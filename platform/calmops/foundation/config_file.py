"""Checks a YAML file of settings against a record type and returns plain values; every problem has a line and a remedy.

Knows records (msgspec Structs) and YAML, not what any setting means. One pass collects all problems, so that a person
corrects a file once.
"""

import difflib
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Struct

from calmops.foundation.errors import ConfigError

_log = logging.getLogger("calmops.config")
SECRET_KEYS = re.compile(r"(password|secret|token|api_key)$")
NOUNS = re.compile(r"\b(int|float|bool|str|null)\b")
WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "null": "nothing"}
MAX_FILE_BYTES = 1_000_000

Lines = dict[str, int]  # the path of a setting ("models[0].tp"; "" is the whole file) to its line, counted from 1


class Problem(NamedTuple):
    """Describes one thing that is wrong: the path of the setting, and a sentence with limit, value and remedy."""

    where: str
    what: str


def parse(
    path: Path,
    record: type[Struct],
    contradictions: Callable[[dict[str, Any]], list[Problem]],
    renamed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the file's plain values, all of them valid for ``record``. Raises ConfigError, one line per problem.

    ``renamed``: old names of settings ("section.old") to new ones ("new"). Old names are read with a warning.
    """
    label = path.name
    root = _compose(path, label)
    lines: Lines = {}
    problems: list[Problem] = []
    tree = _plain(root, "", lines, problems) if root is not None else {}
    if not isinstance(tree, dict):
        problems.append(Problem("", f"must hold settings (`key: value`), got {_shown(tree)}"))
    elif not problems:
        for old, message in give_new_names(tree, renamed or {}):
            _log.warning("%s:%d: %s; the old name is read for one release", label, _line(old, lines), message)
        problems = list(_check_record(tree, record, ""))
    if not problems:
        problems = contradictions(tree)
    refuse(label, problems, lines)
    return tree


def give_new_names(tree: dict[str, Any], renamed: Mapping[str, str]) -> list[tuple[str, str]]:
    """Give settings in plain values their new names, in place; return each old path with a message about it.

    A setting that is given under both names is left alone: the check then refuses the old one as unknown.
    """
    messages = []
    for old_path, new in renamed.items():
        section_name, _, old = old_path.partition(".")
        section = tree.get(section_name)
        if isinstance(section, dict) and old in section and new not in section:
            section[new] = section.pop(old)
            messages.append((old_path, f"{old_path} is now called {section_name}.{new}"))
    return messages


def refuse(label: str, problems: list[Problem], lines: Lines) -> None:
    """Raise one ConfigError for all problems, in the file's order, if there are any."""
    placed = sorted(((_line(problem.where, lines), problem) for problem in problems), key=lambda pair: pair[0])
    messages = [
        f"{label}{f':{line}' if line else ''}: {f'{problem.where}: ' if problem.where else ''}{problem.what}"
        for line, problem in placed
    ]
    if messages:
        raise ConfigError("\n".join(messages))


def _compose(path: Path, label: str) -> yaml.Node | None:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise ConfigError(
                f"{label}: must be at most {MAX_FILE_BYTES} bytes, got {size_bytes}; is it the right file?"
            )
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}; name another with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{label}: isn't UTF-8 (byte {error.start}); save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{label}{line}: isn't YAML: {error.problem}; check indentation and quotes") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{label}: isn't YAML: {error}; check it for control characters") from error


def _plain(node: yaml.Node, where: str, lines: Lines, problems: list[Problem]) -> Any:
    """Return a YAML node as dict, list or scalar; note each path's line and refuse a key given twice."""
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = f"{where}.{key}" if where else key
            if key in tree:
                problems.append(Problem(inner, "is given twice; keep one"))
            lines[inner] = key_node.start_mark.line + 1
            tree[key] = _plain(value_node, inner, lines, problems)
        return tree
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{where}[{index}]", lines, problems) for index, item in enumerate(node.value)]
    constructor = yaml.SafeLoader("")
    try:
        return constructor.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        problems.append(Problem(where, f"can't be read ({error}); quote it if it is text"))
        return None
    finally:
        constructor.dispose()


def _check_record(tree: dict[str, Any], record: type[Struct], where: str) -> list[Problem]:
    hints = get_type_hints(record, include_extras=True)
    problems = [_unknown(key, f"{where}.{key}" if where else key, list(hints)) for key in tree if key not in hints]
    for field in msgspec.structs.fields(record):
        inner = f"{where}.{field.name}" if where else field.name
        if field.name in tree:
            problems += _check_value(tree[field.name], hints[field.name], inner)
        elif field.required:
            problems.append(Problem(inner, f"is missing; {_remedy(hints[field.name])}"))
    return problems


def _check_value(value: Any, hint: Any, where: str) -> list[Problem]:
    record, many = _record_in(hint)
    if record is not None and many:
        if not isinstance(value, list):
            return [Problem(where, f"must be a list (`- name: ...`), got {_shown(value)}; {_remedy(hint)}")]
        if not value:
            return [Problem(where, f"must have at least one entry, got none; {_remedy(hint)}")]
        return [
            problem for index, item in enumerate(value) for problem in _check_entry(item, record, f"{where}[{index}]")
        ]
    if record is not None:
        return [] if value is None and _optional(hint) else _check_entry(value, record, where)
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        expected = re.sub(r"^Expected |, got .*$|\(?- at `.*$|`", "", str(error)).strip()
        expected = NOUNS.sub(lambda match: WORDS[match[0]], expected)
        if expected.startswith("Invalid enum value"):
            expected = "one of " + ", ".join(repr(choice) for choice in _choices(hint))
        return [Problem(where, f"must be {expected}, got {_shown(value)}; {_remedy(hint)}")]
    return []


def _check_entry(value: Any, record: type[Struct], where: str) -> list[Problem]:
    if isinstance(value, dict):
        return _check_record(value, record, where)
    return [Problem(where, f"must hold settings (`key: value`), got {_shown(value)}; indent them below it")]


def _unknown(key: str, where: str, known: list[str]) -> Problem:
    by_file = f"{key}_file"
    if by_file in known or SECRET_KEYS.search(key):
        name = by_file if by_file in known else "a ..._file setting"
        return Problem(where, f"secrets are not written here; put it in a file and name it by {name}")
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return Problem(where, f"is not a setting; {hint}")


def _record_in(hint: Any) -> tuple[type[Struct] | None, bool]:
    """Return the record type inside a hint (None if it has none), and whether the hint means a list of records."""
    if get_origin(hint) is Annotated:
        return _record_in(get_args(hint)[0])
    if isinstance(hint, type) and issubclass(hint, Struct):
        return hint, False
    for argument in get_args(hint):
        record, many = _record_in(argument)
        if record is not None:
            return record, many or get_origin(hint) is tuple
    return None, False


def _optional(hint: Any) -> bool:
    return hint is type(None) or any(_optional(argument) for argument in get_args(hint))


def _choices(hint: Any) -> list[Any]:
    if not get_args(hint):
        return [hint] if isinstance(hint, str) else []
    return [
        choice for argument in get_args(hint) if not isinstance(argument, msgspec.Meta) for choice in _choices(argument)
    ]


def _remedy(hint: Any) -> str:
    described = [meta.description for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta) and meta.description]
    return described[-1] if described else "`calmops config show` prints every setting"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "settings"
    return "a list" if isinstance(value, list) else repr(value)[:80]


def _line(where: str, lines: Lines) -> int:
    """Return the line of a setting, or of the nearest one around it that the file has; 0 if there is none."""
    while where and where not in lines:
        where = re.sub(r"(\.[^.\[\]]*|\[\d+\]|^[^.\[\]]*)$", "", where)
    return lines.get(where, 0)
