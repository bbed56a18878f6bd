"""Groups of cases that share a server: which cases a target can run, and how groups are divided among workers. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import groupby

from triton_contract.cases.case import Case
from triton_contract.cases.rpc import Rpc
from triton_contract.targets import is_url

Group = tuple[tuple[str, tuple[str, ...]], list[Case]]


def groups_of(
    cases: Iterable[Case], most: int | None = None, alone: Container[str] = frozenset()
) -> list[Group]:
    """The cases by repository and flags, at most `most` together, in the order written. Large groups come first.

    Before them come the cases whose ids are in `alone`, each a group of its own.
    """
    single: list[Group] = []
    groups: list[Group] = []
    for key, members in groupby(sorted(cases, key=lambda case: case.group), key=lambda case: case.group):
        together = []
        for case in members:
            if case.id in alone:
                single.append((key, [case]))
            else:
                together.append(case)
        step = most or len(together) or 1
        groups.extend((key, together[start : start + step]) for start in range(0, len(together), step))
    return single + sorted(groups, key=lambda group: -len(group[1]))


def parts_of(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """Divide the groups among `count` workers so that each takes about as long. Long groups come first."""
    parts: list[list[Group]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for group in sorted(groups, key=_seconds, reverse=True):
        lightest = loads.index(min(loads))
        parts[lightest].append(group)
        loads[lightest] += _seconds(group)
    return parts


def _seconds(group: Group) -> float:
    """About how long a group takes, in seconds. Starting real servers takes most of it."""
    starts = sum(bool(case.needs_fresh_server or case.isolated or case.edits) for case in group[1])
    return 2.0 * (1 + starts) + 0.04 * len(group[1])


def cases_for(cases: Iterable[Case], targets: Iterable[str], repository: str | None = None) -> list[Case]:
    """The cases that all of these targets (by name) can run, of one `repository` where that is given.

    A server at a URL serves one repository, with flags that we do not know. Raises ValueError when a target is at a
    URL and no repository is given.
    """
    if not any(map(is_url, targets)):
        return [case for case in cases if repository in (None, case.repository)]
    if repository is None:
        raise ValueError(
            "a target at a URL needs `repository`: which of the contract's repositories it serves"
        )
    return [case for case in cases if case.repository == repository and fits_url(case)]


def fits_url(case: Case) -> bool:
    """Whether a case can be run against a server that we did not start."""
    metrics = any(step.port == "metrics" or step.pending for step in case.steps)
    calls = any(isinstance(step, Rpc) for step in case.steps)
    return not (case.flags or case.needs_fresh_server or case.isolated or case.edits or metrics or calls)
