"""Documents of YAML: written for the eyes of a reviewer, and read again as they were.

YAML has more ends of lines than a line feed, and characters that a parser refuses. What would not be read as it was
written is written with all its characters escaped. Aliases are refused: a few lines of them can stand for more than any
memory has.
"""

import json
from typing import Any

import yaml

BEGINS, ENDS = "---\n", "...\n"
_DumperOfC: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # takes a quarter of the time
_LoaderOfC: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unwritable(ValueError):
    """A document that YAML cannot hold."""


def written(given: Any) -> bytes:
    """A document, from its first line to its last. Raises Unwritable."""
    wanted = json.dumps(given)
    for plain in (True, False):
        try:
            text: str = yaml.dump(
                given,
                Dumper=_Dumper if plain else _EscapingDumper,
                sort_keys=False,
                allow_unicode=plain,
                width=110,
                explicit_start=True,
                explicit_end=True,
            )
            if json.dumps(parsed(text)) == wanted:
                return text.encode()
        except (ValueError, yaml.YAMLError):  # surrogates have no UTF-8, for one
            continue
    raise Unwritable("it has characters that YAML cannot hold")


def parsed(text: str) -> Any:
    """The value of a document. Raises YAMLError, and ValueError for aliases."""
    try:
        return _parsed(text, _LoaderOfC)
    except yaml.YAMLError:
        # the loader in Python takes the escapes of surrogates, which stand for bytes that are no UTF-8
        return _parsed(text, yaml.SafeLoader)


def _parsed(text: str, loader: Any) -> Any:
    if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
        raise ValueError("it has an alias (*), and a cassette has none")
    return yaml.load(text, Loader=loader)  # noqa: S506  (both are safe)


def pieces_of(text: str) -> list[tuple[int, str]]:
    """The documents of a text with the numbers of their first lines, from 0 on; the last may have no end.

    Raises ValueError, with the number of a line, where one begins before the one before it has ended.
    """
    found: list[tuple[int, str]] = []
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    start = 0
    for at, line in enumerate(lines):
        if line == ENDS:
            found.append((start, "".join(lines[start : at + 1])))
            start = at + 1
        elif line == BEGINS and at > start:
            raise ValueError(start)
    if rest := "".join(lines[start:]):
        found.append((start, rest))
    return found


class _Dumper(_DumperOfC):  # type: ignore[misc]
    """Writes lists of numbers on one line, and texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _EscapingDumper(yaml.SafeDumper):
    """Writes texts in double quotes. It is in Python, which has a form for surrogates."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _str(dumper: Any, given: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", given, style="|" if "\n" in given else None)


def _quoted(dumper: Any, given: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", given, style='"')


def _list(dumper: Any, given: list[Any]) -> Any:
    plain = not any(isinstance(each, dict | list) for each in given)
    short = plain and not any(isinstance(each, str) and len(each) > 40 for each in given)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", given, flow_style=short)


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _str)
_EscapingDumper.add_representer(list, _list)
_EscapingDumper.add_representer(str, _quoted)
