"""The personalities: the emulator as each other version, against recorded answers of a real server of that version.

Here are the cases that the version answers differently than the default one, which is compared side by side in
`test_emulator_equals_triton.py`. `ci/versions` runs all cases: side by side, or with --recorded as here.
"""

import pytest

from triton_contract import recordings
from triton_contract.cases.load import load_cases
from triton_contract.comparing.divergences import load_divergences
from triton_contract.reference import DEFAULT_VERSION
from triton_contract.running.pair import Pair
from triton_contract.running.record import split
from triton_contract.running.run import run_pairs
from triton_contract.running.sides import LiveSide, RecordedSide
from triton_contract.targets import EmulatorTarget, TargetUnavailable, emulator_command


@pytest.mark.proof
@pytest.mark.parametrize("version", recordings.recorded_versions())
def test_the_emulator_answers_as_that_version(version: str) -> None:
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
        return Pair(RecordedSide(recorded), emulator, load_divergences(), version=version)

    results = run_pairs([case for case, observation in changed if not observation.unproven], pair, jobs=2)
    assert {result.case: result.differences() for result in results if result.failed} == {}
