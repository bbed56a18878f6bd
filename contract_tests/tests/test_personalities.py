"""The personalities: the emulator as each other version, against a real server of that version.

Here are the cases that the version answers differently than the default one, which is compared in
`test_emulator_equals_triton.py`. The newest version is compared side by side. Where its server is not available (and
this is not CI), and for every other version, the truth is the recorded answers. `ci/versions` runs all cases: side by
side, or with --recorded against the recorded answers.
"""

from collections.abc import Mapping

import pytest

from triton_contract import recordings
from triton_contract.cases.load import load_cases
from triton_contract.comparing.divergences import load_divergences
from triton_contract.playing.observation import Observation
from triton_contract.reference import DEFAULT_VERSION, ReferenceUnavailable
from triton_contract.reference.installation import install
from triton_contract.reference.pytest_support import in_ci, require_reference
from triton_contract.running.pair import Pair
from triton_contract.running.record import split
from triton_contract.running.run import run_pairs
from triton_contract.running.sides import LiveSide, RecordedSide, Side, unanswered
from triton_contract.targets import EmulatorTarget, TargetUnavailable, TritonTarget, emulator_command

NEWEST = "2.72.0"


@pytest.mark.proof
@pytest.mark.parametrize("version", recordings.recorded_versions())
def test_the_emulator_answers_as_that_version(version: str) -> None:
    if version == NEWEST and in_ci():
        require_reference(version)
    try:
        emulator_command()
    except TargetUnavailable as unavailable:
        pytest.skip(str(unavailable))
    cases = load_cases()
    recorded = recordings.read(version, cases)
    assert [case.id for case in cases if case.id not in recorded] == []
    seen = [(case, recorded[case.id]) for case in cases]
    changed, _ = split(seen, recordings.read(DEFAULT_VERSION, cases))

    def pair() -> Pair:
        emulator = LiveSide(EmulatorTarget(version=version))
        return Pair(truth(version, recorded), emulator, load_divergences(), version=version)

    # Cases that wait for answers that never come take the longest. Of the others a start takes the most time.
    waiting = {case.id for case, observation in changed if unanswered(case, observation)}
    asked = [case for case, observation in changed if not observation.unproven]
    results = run_pairs(asked, pair, jobs=8, most=16, alone=waiting)
    assert {result.case: result.differences() for result in results if result.failed} == {}


def truth(version: str, recorded: Mapping[str, Observation]) -> Side:
    """A real server of the newest version where this machine can run one; else the recorded answers."""
    if version == NEWEST:
        try:
            install(version)
        except ReferenceUnavailable:
            return RecordedSide(recorded)
        return LiveSide(TritonTarget(version))
    return RecordedSide(recorded)
