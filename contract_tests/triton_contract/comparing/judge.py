"""Judges two observations of a case, the deaths of servers included. Pure.

Where the reference died there is nothing to be equal to, so the outcome is "unproven". But the target must have
answered with an error and stayed up.
"""

from __future__ import annotations

from triton_contract.cases.case import Case
from triton_contract.playing.observation import Observation

from .compare import AXES, Outcome, Verdict, compare


def judge(
    case: Case, expected: Observation, actual: Observation, *, alike: bool = False, must_crash: bool = True
) -> dict[str, Verdict]:
    """The verdicts by axis, of a case that both sides were asked.

    `alike`: both are the same kind of server, which may crash on the same case. `must_crash`: a reference that answers
    a case which says that it crashes is a difference.
    """
    if actual.death is not None and expected.death is not None and alike:
        return everywhere(Verdict(Outcome.UNPROVEN, f"the reference crashes: {expected.death}"))
    if actual.death is not None:
        return everywhere(Verdict(Outcome.DIFFERENT, f"the target died: {actual.death}"))
    if expected.death is None:
        if case.crashes_reference and must_crash:
            return everywhere(
                Verdict(Outcome.DIFFERENT, "the case says that the reference crashes; it did not")
            )
        return compare(case, expected, actual)
    broken = next(
        (i for i, e in enumerate(expected.exchanges) if e.response is None), len(expected.exchanges) - 1
    )
    answer = actual.exchanges[broken].response if broken < len(actual.exchanges) else None
    if answer is None or not answer.is_error:
        got = "no answer" if answer is None else f"{answer.status}"
        text = f"the reference crashes ({expected.death}); the target must answer with an error, got {got}"
        return everywhere(Verdict(Outcome.DIFFERENT, text))
    return everywhere(Verdict(Outcome.UNPROVEN, f"the reference crashes: {expected.death}"))


def is_sound(case: Case, seen: Observation) -> bool:
    """Whether a living reference gave the text that the case names as `sound_answer`, if it names one."""
    if not case.sound_answer or seen.death is not None or seen.unproven:
        return True
    text = case.sound_answer.encode()
    return any(each.response is not None and text in each.response.body for each in seen.exchanges)


def everywhere(verdict: Verdict) -> dict[str, Verdict]:
    """The same verdict on every axis but the statistics."""
    return dict.fromkeys(AXES[:-1], verdict)
