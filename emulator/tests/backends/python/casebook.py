"""The cases of `cases/*.txt`: Python code for a lab model, and the real server's answers to it.

A case starts with `### <what it shows> [<options>]`; the rest is code that defines `execute(requests)`. Options:
`decoupled` (the decoupled lab model), `hangs` (the real server never answers), `fragile` (the real server
sometimes hangs or ends at this case or at the next one, so only a recording sends it, not the tests),
`outputs=A,B` (the requested outputs), `IN_<TYPE>=<value>` (an input), and fields of the request (`id='a'`).
"""

import ast
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from emulator.tests.backends.python.lab import Answer, case, text_input
from triton_emulator.protocol.datatypes import DATATYPES, decode_bytes
from triton_emulator.protocol.messages import InferRequest
from triton_emulator.protocol.tensor import Tensor

HERE = Path(__file__).parent
RECORDED = HERE / "recorded" / "answers.json"
#: models that do not load, and why
BROKEN = HERE / "models" / "broken"
#: models that show what their modules see
MODELS = ("siblings", "siblings_too", "module_tricks", "two_instances")
REASONS = HERE / "recorded" / "reasons.json"
#: models with an `auto_complete_config`, and what became of their configurations
COMPLETING = HERE / "completing"
CONFIGS = HERE / "recorded" / "configs.json"

#: what differs between machines: addresses, paths of the helpers and the standard library, lines of frozen modules
_MASKS = (
    (re.compile(r"0x[0-9a-f]+"), "0x.."),
    (re.compile(r"[^ ']*/triton_python_backend_utils\.py\(\d+\)"), "triton_python_backend_utils.py(..)"),
    (re.compile(r"[^ ']*/(repository|broken|completing)/"), r"/\1/"),
    (re.compile(r"[^ ']*/lib/python3\.\d+/(\w+)"), r"/python/\1"),
    (re.compile(r"(<frozen [\w.]+>)\(\d+\)"), r"\1(..)"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One case; `name` is the file's name and then the case's sentence."""

    name: str
    code: str
    options: tuple[str, ...]

    @property
    def hangs(self) -> bool:
        return "hangs" in self.options

    @property
    def fragile(self) -> bool:
        return self.hangs or "fragile" in self.options

    def request(self) -> InferRequest:
        inputs: list[Tensor] = []
        fields: dict[str, Any] = {}
        for option in self.options:
            key, _, value = option.partition("=")
            if key == "outputs":
                fields["outputs"] = value.split(",")
            elif key == "IN_STRING":
                inputs.append(text_input(key, value))
            elif key.startswith("IN_"):
                datatype = key.removeprefix("IN_")
                array = np.array(ast.literal_eval(value), dtype=DATATYPES[datatype].numpy)
                inputs.append(Tensor(key, datatype, array.shape, data=array.tobytes()))
            elif value:
                field = ast.literal_eval(value)
                fields[key] = list(field.items()) if key == "parameters" else field
        model = "lab_decoupled" if "decoupled" in self.options else "lab"
        return case(self.code, *inputs, model=model, **fields)


@cache
def cases() -> dict[str, Case]:
    """Every case by name."""
    found = {}
    for file in sorted((HERE / "cases").glob("*.txt")):
        for block in re.split(r"^### ", file.read_text(), flags=re.MULTILINE)[1:]:
            title, code = block.split("\n", 1)
            sentence, _, options = title.partition(" [")
            name = f"{file.stem}: {sentence}"
            assert name not in found, name
            found[name] = Case(name, code, tuple(options.removesuffix("]").split(", ") if options else ()))
    return found


@cache
def recorded() -> dict[str, list[str]]:
    """The recorded answers of the real server, by case or model."""
    recording = json.loads(RECORDED.read_text())
    return {**recording["answers"], **recording["models"]}


def in_words(answers: list[Answer]) -> list[str]:
    """Answers as a list of lines, without what differs between machines."""
    lines: list[str] = []
    for answer in answers:
        if isinstance(answer, str):
            lines.append(f"error: {answer}")
            continue
        lines.append("response:")
        for name, datatype, shape, data in answer:
            if datatype == "BYTES":
                elements = [element.decode("utf-8", "backslashreplace") for element in decode_bytes(data)]
                lines += [f"{name} {datatype}{list(shape)}", *elements]
            else:
                lines.append(f"{name} {datatype}{list(shape)} {data.hex()}")
    return [masked(line) for line in lines]


def masked_reasons(answers: dict[str, Any]) -> dict[str, Any]:
    """The answers; in those that are a text, what differs between machines is masked."""
    return {name: masked(value) if isinstance(value, str) else value for name, value in answers.items()}


def masked(line: str) -> str:
    for pattern, replacement in _MASKS:
        line = pattern.sub(replacement, line)
    return line
