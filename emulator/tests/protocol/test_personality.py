"""The table of what versions change: it is complete, in order, and every row says what proves it."""

import re
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import get_args

import pytest

from triton_contract.cases.load import load_cases
from triton_emulator.protocol.personality import (
    CHANGES,
    DEFAULT_VERSION,
    PROVED,
    RELEASES,
    Change,
    Personality,
    personality,
)
from triton_emulator.settings import TritonVersion

ORDER = list(RELEASES)
OLDEST = ORDER[0]
FIELDS = [field.name for field in fields(Personality) if field.name != "version"]
#: `source: <repository> <branch>, <file>`; what no branch had when it was read names its commit
SOURCE = re.compile(
    r"source: (?:server|core|common|python_backend) (?:r(\d\d\.\d\d)|main [0-9a-f]{7}), [\w/]+\.\w+"
)


def row(change: Change) -> str:
    return f"{change.first}-{change.field}"


@pytest.fixture(scope="module")
def cases() -> list[str]:
    return [case.id for case in load_cases()]


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_a_row(name: str) -> None:
    assert name in {change.field for change in CHANGES}


def test_the_rows_are_in_the_order_of_their_first_versions() -> None:
    found = [ORDER.index(change.first) for change in CHANGES]
    assert found == sorted(found)


@pytest.mark.parametrize("change", CHANGES, ids=row)
def test_a_row_changes_a_field_of_the_version_before(change: Change) -> None:
    assert change.field in FIELDS
    before = personality(ORDER[ORDER.index(change.first) - 1])
    assert getattr(before, change.field) != change.value
    assert getattr(personality(change.first), change.field) == change.value


@pytest.mark.parametrize("change", CHANGES, ids=row)
def test_a_row_says_in_a_sentence_what_a_client_sees(change: Change) -> None:
    assert re.fullmatch(r"[A-Z`].*\.", change.what)


@pytest.mark.parametrize("change", CHANGES, ids=row)
def test_the_proof_of_a_row_is_a_glob_that_fits_a_case_or_a_source(change: Change, cases: list[str]) -> None:
    source = SOURCE.fullmatch(change.proof)
    if source is None:
        assert any(fnmatchcase(case, change.proof) for case in cases)
    else:
        assert source[1] in (RELEASES[change.first], None)


def test_the_oldest_version_is_the_defaults() -> None:
    assert personality(OLDEST) == Personality(version=OLDEST)


def test_the_default_version_has_been_proved() -> None:
    assert DEFAULT_VERSION in PROVED
    assert set(PROVED) <= set(ORDER)


def test_an_option_offers_the_releases_of_the_table() -> None:
    assert list(get_args(TritonVersion)) == ORDER


@pytest.mark.parametrize("version", ["", "2.40.0", "2.51", "2.51.1", "3.0.0", "24.10"])
def test_an_unknown_version_is_refused(version: str) -> None:
    with pytest.raises(KeyError):
        personality(version)


def test_a_version_between_takes_the_rows_up_to_it() -> None:
    limits = {version: personality(version).json_too_large.partition(" JSON")[0] for version in ORDER}
    assert {limits[version] for version in ORDER[: ORDER.index("2.62.0")]} == {""}
    assert {limits[version] for version in ("2.62.0", "2.63.0", "2.67.0")} == {"Request"}
    assert {limits[version] for version in ("2.68.0", "2.69.0", "2.74.0")} == {"request"}


def test_a_version_is_the_same_value_every_time() -> None:
    assert personality("2.72.0") is personality("2.72.0")
