"""A baseline: a file of known failures with reasons. Only other failures fail a run, and so do entries that are stale.

- case: infer/json/wrong-shape   # an id, or a glob
axis: body                     # optional: without it all axes
reason: our gateway rewrites errors (issue 12)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from .compare import AXES, Outcome, Verdict
from .results import CaseResult, RunResult

_FIELDS = ("case", "axis", "reason")
_ENTRY = "an entry is `- case: ID` with `reason: TEXT` and, if it is about one axis, `axis: NAME`"


class BaselineError(Exception):
    """The file breaks the format. The text is one line with the file, the line and what is right."""


@dataclass(frozen=True, slots=True)
class Known:
    """A known failure: the cases whose ids match `case`, on `axis` ("": on all), and where the file says so."""

    case: str
    axis: str
    reason: str
    place: str

    def covers(self, case_id: str, axis: str) -> bool:
        return self.axis in ("", axis) and fnmatchcase(case_id, self.case)


def load_baseline(path: Path, cases: Collection[str] = ()) -> tuple[Known, ...]:
    """The entries of the file. `cases` are the ids that exist; without them an entry's id is not checked.

    Raises BaselineError.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise BaselineError(f"{path}:{line}: not YAML: {error.problem}; {_ENTRY}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BaselineError(f"{path}: {error}") from None
    if root is None:
        return ()
    if not isinstance(root, yaml.SequenceNode):
        raise BaselineError(f"{_place(path, root)}: a baseline is a list; {_ENTRY}")
    found: dict[tuple[str, str], Known] = {}
    for node in root.value:
        known = _entry(path, node)
        if cases:
            _check_case(known, cases)
        earlier = found.setdefault((known.case, known.axis), known)
        if earlier is not known:
            raise BaselineError(
                f"{known.place}: {known.case} is listed twice: remove it here or at {earlier.place}"
            )
    return tuple(found.values())


def _place(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


def _entry(path: Path, node: yaml.Node) -> Known:
    if not isinstance(node, yaml.MappingNode):
        raise BaselineError(f"{_place(path, node)}: {_ENTRY}")
    values: dict[str, str] = {}
    for key, value in node.value:
        place = _place(path, key)
        if key.value not in _FIELDS:
            near = get_close_matches(str(key.value), _FIELDS, n=1)
            advice = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(_FIELDS)}"
            raise BaselineError(f"{place}: unknown field {str(key.value)!r}: {advice}")
        if key.value in values:
            raise BaselineError(f"{place}: {key.value} is written twice")
        if not isinstance(value, yaml.ScalarNode) or not value.value.strip():
            raise BaselineError(f"{place}: {key.value} is a text that is not empty")
        values[key.value] = value.value
    place = _place(path, node)
    for name in ("case", "reason"):
        if name not in values:
            raise BaselineError(f"{place}: {name} is missing: {_ENTRY}")
    axis = values.get("axis", "")
    if axis and axis not in AXES:
        raise BaselineError(
            f"{place}: no axis {axis!r}: the axes are {', '.join(AXES)}; without one it is all"
        )
    return Known(values["case"], axis, values["reason"], place)


def _check_case(known: Known, cases: Collection[str]) -> None:
    if any(fnmatchcase(case, known.case) for case in cases):
        return
    near = get_close_matches(known.case, cases, n=1)
    advice = f"did you mean {near[0]}?" if near else "`triton-contract cases` lists them"
    raise BaselineError(f"{known.place}: no case has the id {known.case}: {advice}")


def apply_baseline(run: RunResult, rows: tuple[Known, ...], whole: Collection[str] = ()) -> RunResult:
    """The run with its known failures marked as known divergences, and a line for each stale entry.

    An entry is stale when all its cases were asked and none of them fails. `whole` has the ids of all cases that are
    asked, by this run or by its other shards; by default those of the run.
    """
    cases = tuple(_mark(result, rows) for result in run.cases)
    asked = {result.case: result for result in cases}
    stale = tuple(
        f"{row.place}: {row.case} is listed as a known failure ({row.reason}), and does not fail: remove the entry"
        for row in rows
        if _is_stale(row, asked, whole or asked.keys())
    )
    return replace(run, cases=cases, stale=(*run.stale, *(line for line in stale if line not in run.stale)))


def _mark(result: CaseResult, rows: tuple[Known, ...]) -> CaseResult:
    verdicts = dict(result.verdicts)
    for axis, verdict in verdicts.items():
        row = next((row for row in rows if row.covers(result.case, axis)), None)
        if row is not None and verdict.outcome is Outcome.DIFFERENT:
            verdicts[axis] = Verdict(Outcome.DIVERGENCE, f"{row.reason}\n{verdict.detail}")
    return replace(result, verdicts=verdicts)


def _is_stale(row: Known, asked: dict[str, CaseResult], whole: Collection[str]) -> bool:
    members = [case for case in whole if fnmatchcase(case, row.case)]
    if not members or any(case not in asked for case in members):
        return False
    verdicts = [verdict for case in members for verdict in _judged(row, asked[case])]
    return bool(verdicts) and not any(_is_known(row, verdict) for verdict in verdicts)


def _judged(row: Known, result: CaseResult) -> Iterator[Verdict]:
    """The verdicts that an entry is about, without those of a case that could not be judged."""
    for axis, verdict in result.verdicts.items():
        if verdict.outcome is not Outcome.UNPROVEN and row.covers(result.case, axis):
            yield verdict


def _is_known(row: Known, verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.DIVERGENCE and verdict.detail.startswith(f"{row.reason}\n")
