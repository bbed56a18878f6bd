"""Known failures, and the shards of a run."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from triton_contract import load_cases
from triton_contract.cli import main
from triton_contract.cli.options import Shard
from triton_contract.comparing import results
from triton_contract.comparing.baseline import BaselineError, Known, apply_baseline, load_baseline
from triton_contract.comparing.compare import Outcome, Verdict
from triton_contract.comparing.merging import merge
from triton_contract.comparing.results import CaseResult, ResultsError, RunResult

IDS = ["infer/a", "infer/b", "health/live"]


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- case: infer/c\n  reason: x\n", "1: no case has the id infer/c: did you mean infer/b?"),
        ("\n- case: nope\n  reason: x\n", "2: no case has the id nope: `triton-contract cases` lists them"),
        ("- case: infer/a\n", "1: reason is missing: an entry is `- case: ID`"),
        ("- case: infer/a\n  reason: ''\n", "2: reason is a text that is not empty"),
        ("- case: infer/a\n  reason: [x]\n", "2: reason is a text that is not empty"),
        ("- case: infer/a\n  raeson: x\n", "2: unknown field 'raeson': did you mean reason?"),
        ("- case: infer/a\n  since: x\n", "2: unknown field 'since': the fields are case, axis, reason"),
        ("- case: infer/a\n  case: infer/b\n  reason: x\n", "2: case is written twice"),
        ("- {case: infer/a, reason: x, axis: bdy}\n", "1: no axis 'bdy': the axes are status, headers, "),
        (
            "- {case: infer/a, reason: x}\n- {case: infer/a, reason: y}\n",
            "2: infer/a is listed twice: remove it here or",
        ),
        ("- infer/a\n", "1: an entry is `- case: ID` with `reason: TEXT`"),
        ("case: infer/a\n", "1: a baseline is a list; an entry is `- case: ID`"),
        ("- case: [\n", "2: not YAML: expected the node content"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_is_right(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "known.yaml"
    path.write_text(text)
    with pytest.raises(BaselineError) as error:
        load_baseline(path, IDS)
    assert str(error.value).startswith(f"{path}:{told}")
    assert "\n" not in str(error.value)


def test_an_empty_file_knows_no_failure(tmp_path: Path) -> None:
    (tmp_path / "known.yaml").write_text("# none yet\n")
    assert load_baseline(tmp_path / "known.yaml", IDS) == ()


def run_of(*found: CaseResult, shard: str = "", stopped: str = "", actual: str = "it") -> RunResult:
    return RunResult("2.51.0", "the real one", actual, "2026-01-31", found, stopped, shard=shard)


def result(case: str, body: Outcome, status: Outcome = Outcome.EQUAL) -> CaseResult:
    return CaseResult(case, "infer", {"status": Verdict(status), "body": Verdict(body, "expected x\ngot y")})


EQUAL, DIFFERENT, UNPROVEN = Outcome.EQUAL, Outcome.DIFFERENT, Outcome.UNPROVEN


def known(case: str, axis: str = "") -> Known:
    return Known(case, axis, "because", "known.yaml:3")


def stale(case: str) -> tuple[str]:
    return (
        f"known.yaml:3: {case} is listed as a known failure (because), and does not fail: remove the entry",
    )


@pytest.mark.parametrize(
    ("row", "found", "failing", "lines"),
    [
        (known("infer/a"), [result("infer/a", DIFFERENT)], [], ()),
        (known("infer/a"), [result("infer/a", DIFFERENT), result("infer/b", DIFFERENT)], ["infer/b"], ()),
        (known("infer/*"), [result("infer/a", DIFFERENT), result("infer/b", EQUAL)], [], ()),
        (known("infer/a", "body"), [result("infer/a", DIFFERENT, DIFFERENT)], ["infer/a"], ()),
        (known("infer/a"), [result("infer/a", EQUAL)], [], stale("infer/a")),
        (known("infer/*"), [result("infer/a", EQUAL), result("infer/b", EQUAL)], [], stale("infer/*")),
        (known("infer/a", "status"), [result("infer/a", DIFFERENT)], ["infer/a"], stale("infer/a")),
        (known("infer/a"), [result("infer/b", EQUAL)], [], ()),
        (known("infer/a"), [result("infer/a", UNPROVEN, UNPROVEN)], [], ()),
    ],
    ids=[
        "a known failure is none",
        "another failure is one",
        "a glob needs one failure",
        "an entry is about its axis only",
        "a case that agrees is stale",
        "a glob of which no case fails is stale",
        "an entry about another axis is stale",
        "a case that was not asked is not stale",
        "a case that could not be judged is not stale",
    ],
)
def test_an_entry(row: Known, found: list[CaseResult], failing: list[str], lines: tuple[str, ...]) -> None:
    run = apply_baseline(run_of(*found), (row,))
    assert ([each.case for each in run.cases if each.failed], run.stale) == (failing, lines)
    assert run.differs == bool(failing or lines)
    assert apply_baseline(run, (row,)) == run


def test_a_known_failure_keeps_its_reason_and_its_difference() -> None:
    run = apply_baseline(run_of(result("infer/a", DIFFERENT)), (known("infer/a"),))
    assert run.cases[0].verdicts["body"] == Verdict(Outcome.DIVERGENCE, "because\nexpected x\ngot y")


def test_a_shard_does_not_judge_a_glob_whose_cases_others_ask() -> None:
    part = run_of(result("infer/a", EQUAL))
    assert apply_baseline(part, (known("infer/*"),), ["infer/a", "infer/b"]).stale == ()
    both = run_of(result("infer/a", EQUAL), result("infer/b", EQUAL))
    assert apply_baseline(both, (known("infer/*"),)).stale == stale("infer/*")


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_each_case_is_in_one_shard(total: int) -> None:
    cases = load_cases()
    parts = [Shard(number, total).of(cases) for number in range(1, total + 1)]
    assert sorted(case.id for part in parts for case in part) == sorted(case.id for case in cases)
    assert all(parts)
    assert [Shard(number, total).of(cases) for number in range(1, total + 1)] == parts


def test_cases_of_one_server_are_divided_too() -> None:
    cases = [case for case in load_cases() if case.group == ("http", ())]
    first, second = (len(Shard(number, 2).of(cases)) for number in (1, 2))
    assert min(first, second) > len(cases) / 3


@pytest.mark.parametrize("given", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_does_not_exist_is_told(given: str) -> None:
    wrong = invoke("run", "--target", "emulator", "--shard", given)
    assert wrong.exit_code == 2
    assert f"'{given}' is no shard: write 1/3 for the first of three parts" in wrong.output


def test_merged_shards_are_one_run() -> None:
    parts = [run_of(result("infer/b", EQUAL), shard="2/2"), run_of(result("infer/a", EQUAL), shard="1/2")]
    assert merge(parts) == [run_of(result("infer/b", EQUAL), result("infer/a", EQUAL))]


def test_runs_of_other_targets_and_whole_runs_stay_apart() -> None:
    runs = [run_of(shard="1/1"), run_of(shard="1/1", actual="another"), run_of(), run_of()]
    assert merge(runs) == [run_of(), run_of(actual="another"), run_of(), run_of()]


def test_a_missing_shard_is_told() -> None:
    [run] = merge([run_of(shard="1/3"), run_of(shard="3/3", stopped="lost")])
    assert run.stopped == "lost; no results of shard 2/3: give their files too"


def test_a_shard_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ResultsError, match="shard 1/2 of it is there twice: give each file once"):
        merge([run_of(shard="1/2"), run_of(shard="1/2")])


NAMES = ("--target", "emulator==2.51.0", "--target", "emulator==2.72.0", "--only", "generate/datatype/*")
NEW = "generate/datatype/empty"


def outcomes(paths: Iterable[Path]) -> dict[str, str]:
    return {each.case: each.outcome.value for run in results.load(paths) for each in run.cases}


def test_shards_with_a_baseline_are_merged_and_only_new_failures_count(tmp_path: Path) -> None:
    whole, merged = tmp_path / "whole.json", tmp_path / "merged.json"
    assert invoke("diff", *NAMES, "--json", whole).exit_code == 1
    found = outcomes([whole])
    failing = [case for case, outcome in found.items() if outcome == "different"]
    assert NEW in failing

    baseline = tmp_path / "known.yaml"
    baseline.write_text("".join(f"- {{case: {case}, reason: since 2.68}}\n" for case in failing))
    shards = [tmp_path / f"{number}.json" for number in (1, 2)]
    for number, path in enumerate(shards, start=1):
        words = ("--baseline", baseline, "--shard", f"{number}/2", "--report", f"json={path}")
        result = invoke("diff", *NAMES, *words)
        assert result.exit_code == 0, result.output
    result = invoke("report", *shards, "--baseline", baseline, "--report", f"json={merged}")
    assert result.exit_code == 0, result.output
    assert f"all {len(found)} cases agree" in result.output
    assert outcomes([merged]) == found | dict.fromkeys(failing, "known divergence")

    assert invoke("report", shards[0], "--report", f"json={merged}").exit_code == 3
    agreeing = next(case for case, outcome in found.items() if outcome == "equal")
    with baseline.open("a") as file:
        file.write(f"- {{case: {agreeing}, reason: mended}}\n")
    result = invoke("report", whole, "--baseline", baseline)
    assert result.exit_code == 1
    line = len(failing) + 1
    assert (
        f"known.yaml:{line}: {agreeing} is listed as a known failure (mended), and does not fail"
        in result.output
    )


def test_a_mistake_in_the_baseline_ends_the_command_before_a_server_starts(tmp_path: Path) -> None:
    (tmp_path / "known.yaml").write_text("- case: generate/datatype/emty\n  reason: x\n")
    result = invoke("run", "--target", "emulator", "--baseline", tmp_path / "known.yaml")
    told = f"{tmp_path}/known.yaml:1: no case has the id generate/datatype/emty: did you mean {NEW}?"
    assert (result.exit_code, result.output) == (2, f"triton-contract: {told}\n")


def test_what_is_for_the_contracts_cases_is_refused_for_a_folder_of_models(tmp_path: Path) -> None:
    result = invoke("diff", *NAMES, "--repository", tmp_path, "--report", "html")
    assert result.exit_code == 2
    assert "--report, --json, --baseline and --shard are for the contract's cases" in result.output
