"""Texts of a `config.pbtxt`: two servers that load the same file must agree on its faults, the load and the config.

Protobuf says in the log what is wrong in a text; the answer to a load says only that the model cannot be read. So the
logs are compared as well, as an axis of their own, if both servers were started here.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import strategies as st

from triton_contract.comparing.compare import EQUAL, Outcome, Verdict
from triton_contract.comparing.results import CaseResult
from triton_contract.targets import EmulatorTarget, Target, TritonTarget

from .agreement import Agreement
from .request import Request

EXPLICIT = ("--model-control-mode=explicit", "--load-model=good", "--exit-on-error=false")

_MODEL = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""
_INPUT = b'input { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } '
_TENSORS = _INPUT + b'output { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } '
#: an ensemble, which loads at once; the text under test follows on a line of its own
_ENSEMBLE = (
    b'platform: "ensemble" '
    + _TENSORS
    + b'ensemble_scheduling { step { model_name: "good" model_version: -1 '
    b'input_map { key: "X" value: "X" } output_map { key: "Y" value: "Y" } } }\n'
)
_FAULT = re.compile(r"Error parsing text-format inference\.ModelConfig: (.*)")
_QUOTED = re.compile(r'^[IWE]\d{4} .*?\] (".*")$')
"""A line of a log of Triton's. Protobuf's own lines have no quotes."""


@contextmanager
def config_repository() -> Iterator[Path]:
    """A repository with a member `good` of ensembles, and the model `m` that the texts are for."""
    with tempfile.TemporaryDirectory(prefix="triton-contract-") as folder:
        repository = Path(folder).resolve() / "configs"
        for name in ("good", "m"):
            (repository / name / "1").mkdir(parents=True)
        (repository / "good" / "1" / "model.py").write_text(_MODEL)
        (repository / "good" / "config.pbtxt").write_bytes(b'backend: "python" ' + _TENSORS)
        yield repository


@dataclass(slots=True, kw_only=True)
class ConfigAgreement(Agreement):
    """A pair of servers over the same `folder`, in which every request first writes its `config`."""

    folder: Path
    targets: tuple[Target, Target]
    _read: dict[Path, int] = field(default_factory=dict)

    def ask(self, request: Request) -> CaseResult:
        if request.config is not None:
            (self.folder / "m" / "config.pbtxt").write_bytes(_ENSEMBLE + request.config)
        for target in self.targets:
            self._new_faults(target)
        result = Agreement.ask(self, request)
        expected, actual = map(self._new_faults, self.targets)
        if result.crash or expected is None or actual is None:
            return result
        verdict = EQUAL
        if expected != actual:
            verdict = Verdict(Outcome.DIFFERENT, f"expected {expected}\ngot      {actual}")
            self.tally[result.operation, result.outcome] -= 1
        result = replace(result, verdicts=result.verdicts | {"log": verdict})
        if verdict is not EQUAL:
            self.tally[result.operation, result.outcome] += 1
        return result

    def _new_faults(self, target: Target) -> list[str] | None:
        """What the target has logged of the faults of texts since it was last asked; None if its log is not ours."""
        path = log_of(target)
        if path is None:
            return None
        start = self._read.get(path, 0)
        with path.open("rb") as log:
            log.seek(start)
            new = log.read()
        self._read[path] = start + len(new)
        return faults_in(new)


def log_of(target: Target) -> Path | None:
    """The log of a server that was started here."""
    if isinstance(target, TritonTarget):
        return target.server.log
    return target.process.log if isinstance(target, EmulatorTarget) else None


def faults_in(log: bytes) -> list[str]:
    """The faults that a log tells, as `line:column: what`."""
    faults = []
    for line in log.decode("utf-8", "surrogateescape").split("\n"):
        if _FAULT.search(line):
            quoted = _QUOTED.match(line)
            text = json.loads(quoted[1]) if quoted else line
            if found := _FAULT.search(text):
                faults.append(found[1].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return faults


# --- texts ---------------------------------------------------------------------------------------------------------

_NUMBERS = (
    b"0 1 4 -1 +4 007 08 0x1F 0X 0xg 1.5 .5 5. 1e3 1e 1e+ 1E-3 1f 1.5F 1.2.3 1e5. 0x1. 07. 1a 2147483647 2147483648 "
    b"-2147483648 -2147483649 4294967295 4294967296 9223372036854775807 9223372036854775808 -9223372036854775808 "
    b"-9223372036854775809 18446744073709551615 18446744073709551616 0xFFFFFFFFFFFFFFFF 01777777777777777777777 "
    b"02000000000000000000000 1e39 3.4028236e38 1e999 -0 -0.0 00 a.5 inf -inf infinity -nan 1_0 0b1 1u"
).split()
_STRINGS = [
    *(
        rb'""',
        rb"''",
        rb'"a"',
        rb"'a'",
        rb'"a" "b"',
        rb'"\q"',
        rb'"\?"',
        rb'"\a\n\\\'\""',
        rb'"\1"',
        rb'"\1234"',
    ),
    *(rb'"\777"', rb'"\8"', rb'"\x"', rb'"\x414"', rb'"\xg"', rb'"\u0041"', rb'"\u41"', rb'"\ud83d\ude00"'),
    *(
        rb'"\ud83dx"',
        rb'"\U0001F600"',
        rb'"\U00110000"',
        rb'"\U00200000"',
        rb'"\U0000d83d\ude00"',
        rb'"a',
        b'"a\\',
    ),
    *(
        rb'"\0"',
        rb'"\200"',
        rb'"\xc3\xa9"',
        rb'"\xed\xa0\x80"',
        b'"\xe9"',
        b'"\xff\xfe "',
        b'"\x00"',
        b'"\t"',
    ),
    *(b'"a\nb"', b'"\xf0\x9f\x98 "'),
]
_WORDS = (
    b"name max_batch_size input output dims data_type parameters key value string_value TYPE_FP32 true false t inf "
    b"version_policy latest num_versions all specific versions reshape metric_tags Name optimization priority "
    b"eager_batching sequence_batching dynamic_batching instance_group count model_metrics foo _ a1"
).split()
_MARKS = [
    *(bytes([code]) for code in b"{}<>[]:,;.-+/()=#\n \t\r\v\f\\\"'$@*\x00\x01\x7f\x80\xff"),
    *(b"\xc2\xa0", b"\xef\xbb\xbf", b"//", b"/*", b"# c\n", b"#\xff\n", b"# \x00 x\n", b"#\r\n"),
]
_FIELDS = [
    b"max_batch_size: N", b"max_batch_size: 0 max_batch_size: N", b"version_policy: { latest < num_versions: N > }",
    b"version_policy { specific { versions: [ N, N ] versions: N } }", b"version_policy { all {} latest {} }",
    b"parameters { key: S value: { string_value: S } }", b"parameters [ { key: 'a' }, < key: 'a' value {} > ];",
    b"default_model_filename: S", b"cc_model_filenames { key: 'a', value: S; }", b"name: S name: S",
    b"optimization { gather_kernel_buffer_threshold: N eager_batching: W }", b"optimization { priority: N }",
    b"optimization { eager_batching: N }", b"optimization { priority: W }", b"input { name: S dims: [ N, N ] }",
    b"input { name: 'Z' data_type: N dims: N }", b"output [ { name: 'W' data_type: W } ]",
    b"sequence_batching { direct { minimum_slot_utilization: N } }", b"dynamic_batching { priority_levels: N }",
    b"model_warmup { name: S batch_size: N inputs { key: 'a' value { zero_data: W random_data: W } } }",
    b"parameters { key: S key: S }", b"[a.W] {}", b"N: N", b"W: N", b"W: S", b"W { W: N }",
    b"model_transaction_policy { decoupled: N }",
]  # fmt: skip
_HOLES = {b"N": _NUMBERS, b"S": _STRINGS, b"W": _WORDS}


@st.composite
def _a_field(draw: st.DrawFn) -> bytes:
    """A field with its holes (the single letters N, S and W) filled."""
    parts = re.split(rb"\b([NSW])\b", draw(st.sampled_from(_FIELDS)))
    return b"".join(draw(st.sampled_from(_HOLES[part])) if part in _HOLES else part for part in parts)


_pieces = st.one_of(*(st.sampled_from(each) for each in (_WORDS, _NUMBERS, _STRINGS, _MARKS, _MARKS)))


@st.composite
def config_texts(draw: st.DrawFn) -> bytes:
    """One or two fields, or pieces at random; up to two pieces more or fewer anywhere."""
    if draw(st.integers(0, 4)):
        between = draw(st.sampled_from([b" ", b"\n", b",", b"; ", b""]))
        text = between.join(draw(st.lists(_a_field(), min_size=1, max_size=2)))
    else:
        text = b" ".join(draw(st.lists(_pieces, max_size=6)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.one_of(st.just(b""), _pieces)) + text[at + draw(st.integers(0, 3)) :]
    return text


def config_loads() -> st.SearchStrategy[Request]:
    """Loads of a model with such a text: then the config is read, and the model is unloaded."""
    after = (Request("GET", "/v2/models/m/config"), Request("POST", "/v2/repository/models/m/unload", b"{}"))
    load = Request("POST", "/v2/repository/models/m/load", b"{}")
    # A metric tag that Prometheus refuses as a label ends the real server. The order of a map's entries is by chance.
    texts = config_texts().filter(lambda text: b"metric_tags" not in text and text.count(b"parameters") <= 1)
    return texts.map(lambda text: replace(load, after=after, config=text))
