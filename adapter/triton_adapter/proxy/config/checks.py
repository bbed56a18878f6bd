"""Checks a config's values by the schema, and collects every mistake with its line and its fix."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from triton_adapter.proxy.config.schema import LITELLM_PARAMS, REFUSED, RULES, WITHOUT_EFFECT
from triton_adapter.proxy.config.values import Mistake
from triton_adapter.proxy.config.yaml_lines import Document, Path

ENVIRON = "os.environ/"


class Missing:
    """Stands for the value of an environment variable that is not set. The mistake is reported once, where it is."""


MISSING = Missing()


class Checks:
    """One file's values, and what is wrong with them. `mistakes` are errors; `warnings` name keys without effect."""

    def __init__(self, document: Document, environ: Mapping[str, str], file: str) -> None:
        self.document = document
        self.environ = environ
        self.file = file
        self.mistakes: list[Mistake] = []
        self.warnings: list[str] = []

    def wrong(self, path: Path, message: str) -> None:
        """Add a mistake at a path of keys."""
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        self.mistakes.append(Mistake(message, self.document.line(path), where))

    def warn(self, path: Path, message: str) -> None:
        """Add a warning at a path of keys."""
        self.warnings.append(f"{self.file}:{self.document.line(path)}: {message}")

    def unknown(self, path: Path, key: Any, known: Iterable[str]) -> None:
        """Add the mistake that a key is not one of those that are known."""
        close = get_close_matches(str(key), known, 1, 0.6)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
        self.wrong(path, f"unknown key; {hint}")

    def resolved(self, path: Path, value: Any) -> Any:
        """Return a value with every `os.environ/NAME` in it replaced."""
        if isinstance(value, dict):
            return {key: self.resolved((*path, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolved((*path, at), item) for at, item in enumerate(value)]
        if not isinstance(value, str) or not value.startswith(ENVIRON):
            return value
        name = value.removeprefix(ENVIRON)
        if self.environ.get(name):
            return self.environ[name]
        state = "empty" if name in self.environ else "not set"
        self.wrong(path, f"the environment variable {name} is {state}: export {name}=... before starting")
        return MISSING

    def section(
        self, path: Path, given: Mapping[Any, Any], name: str, extra: Collection[Any] = ()
    ) -> dict[str, Any]:
        """Return the valid values of a section, without nulls. Keys in `extra` are skipped."""
        rules, found = RULES[name], {}
        without_effect, refused = WITHOUT_EFFECT.get(name, {}), REFUSED.get(name, {})
        for key, value in given.items():
            here = (*path, key)
            if key in extra or isinstance(value, Missing):
                continue
            if key in without_effect:
                self.warn(here, f"{key} has no effect: {without_effect[key]}")
            elif key in refused:
                self.wrong(here, f"not supported; {refused[key]}")
            elif key not in rules:
                self.unknown(here, key, LITELLM_PARAMS if name == "litellm_params" else rules)
            elif value is not None:
                accepts, expected = rules[key]
                if accepts(value):
                    found[key] = value
                else:
                    self.wrong(here, f"must be {expected}")
        return found
