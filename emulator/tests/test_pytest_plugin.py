"""The fixtures that come with the package."""

import json

import httpx
import pytest

from triton_emulator import Emulator, Session

pytest_plugins = ["pytester"]


def test_each_test_has_a_triton_of_its_own(triton: Session, triton_emulator: Emulator) -> None:
    assert triton.url.startswith(f"{triton_emulator.url}/s/")
    assert httpx.get(f"{triton.url}/v2/health/ready").status_code == 200


def test_the_repository_is_an_option(pytester: pytest.Pytester) -> None:
    pytester.mkdir("empty")
    pytester.makepyfile(
        """
        import httpx

        def test_nothing_is_served(triton):
            assert httpx.post(f"{triton.url}/v2/repository/index").json() == []
        """
    )
    result = pytester.runpytest_subprocess("--triton-model-repository=empty", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_the_repository_is_an_ini_setting(pytester: pytest.Pytester) -> None:
    pytester.mkdir("empty")
    pytester.makeini("[pytest]\ntriton_model_repository = empty\n")
    pytester.makepyfile(
        """
        import httpx

        def test_nothing_is_served(triton):
            assert httpx.post(f"{triton.url}/v2/repository/index").json() == []
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "ini, options, text",
    [
        (
            "",
            ["--triton-model-repository=nope"],
            "--triton-model-repository names 'nope', which is no folder",
        ),
        (
            "triton_model_repository = nope",
            [],
            "the ini setting triton_model_repository names '*/nope', which is no folder",
        ),
    ],
    ids=["the option", "the ini setting"],
)
def test_a_repository_that_is_no_folder_is_told_with_what_names_it(
    pytester: pytest.Pytester, ini: str, options: list[str], text: str
) -> None:
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile("def test_it(triton): pass")
    result = pytester.runpytest_subprocess(*options, "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([text])


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*options, "-p", "no:cacheprovider")


CARELESS = """
    import httpx
    import pytest


    def test_careless(triton):
        for _ in range(3):
            assert httpx.get(f"{triton.http_url}/v2/health/ready").status_code == 200


    def test_careful(triton):
        with httpx.Client() as client:
            for _ in range(3):
                assert client.get(f"{triton.http_url}/v2/health/ready").status_code == 200
"""


def test_a_verdict_is_reported_with_the_tests_that_it_is_on(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CARELESS)
    result = run(pytester, "--triton-verdict", "--triton-verdict-json=verdict.json")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*= verdict on the clients of Triton =*",
            "*::test_careless",
            "  connections_not_reused (wrong): python-httpx/*, requests 1, 2, 3: 3 requests came over 3 connections; *",
        ]
    )
    assert "::test_careful" not in result.stdout.str().partition("verdict on the clients")[2]
    (found,) = json.loads((pytester.path / "verdict.json").read_text()).values()
    assert [finding["rule"] for finding in found["findings"]] == ["connections_not_reused"]


@pytest.mark.parametrize("flag", ["--triton-verdict", "--triton-verdict=report", "--triton-verdict=fail"])
@pytest.mark.parametrize("tests", ["tests", "tests/test_careless.py", "tests/test_careless.py::test_careful"])
def test_the_verdict_does_not_take_the_path_of_the_tests_for_its_value(
    pytester: pytest.Pytester, flag: str, tests: str
) -> None:
    pytester.mkdir("tests")
    (pytester.path / "tests" / "test_careless.py").write_text(
        "def test_careful(triton): assert triton.http_url\n"
    )
    pytester.makepyfile("def test_not_asked_for(): raise AssertionError")
    result = run(pytester, flag, tests)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*= verdict on the clients of Triton =*", "no findings"])


@pytest.mark.parametrize("tests", ["tests", "tests/test_it.py", "tests/test_it.py::test_it", "test_new.py"])
def test_tests_are_not_written_over_by_a_verdict(pytester: pytest.Pytester, tests: str) -> None:
    pytester.mkdir("tests")
    file = pytester.path / "tests" / "test_it.py"
    file.write_text("def test_it(triton): pass\n")
    result = run(pytester, "--triton-verdict-json", tests)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = f"'{tests}' are tests; name a file for the verdict, such as --triton-verdict-json=verdict.json {tests}"
    result.stderr.fnmatch_lines([f"*: error: argument --triton-verdict-json: {said}"])
    assert file.read_text() == "def test_it(triton): pass\n"


def test_a_word_that_is_no_kind_of_verdict_is_refused(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--triton-verdict=fial")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*: error: *--triton-verdict=report/--triton-verdict=fail: *'fial'"])


def test_a_file_for_the_verdict_that_cannot_be_written_is_told_after_the_tests(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(CARELESS)
    (pytester.path / "file").write_text("no folder")
    result = run(pytester, "--triton-verdict-json=file/verdict.json")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["--triton-verdict-json: *'file'"])


def test_a_file_for_the_verdict_is_written_without_another_option(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CARELESS)
    result = run(pytester, "--triton-verdict-json=build/verdict.json")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*= verdict on the clients of Triton =*"])
    (found,) = json.loads((pytester.path / "build" / "verdict.json").read_text()).values()
    assert [finding["rule"] for finding in found["findings"]] == ["connections_not_reused"]


def test_a_verdict_can_fail_the_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CARELESS)
    result = run(pytester, "--triton-verdict=fail")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["1 finding on the client", "  connections_not_reused (wrong): *"])


def test_a_rule_of_the_verdict_can_be_turned_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CARELESS)
    pytester.makeini("[pytest]\ntriton_verdict_ignore = connections_not_reused")
    result = run(pytester, "--triton-verdict=fail")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["no findings"])


def test_a_word_that_is_no_rule_fails_the_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CARELESS)
    pytester.makeini("[pytest]\ntriton_verdict_ignore = connections")
    result = run(pytester, "--triton-verdict")
    result.stdout.fnmatch_lines(["*the ini setting triton_verdict_ignore: 'connections' is no rule; *"])


def test_a_verdict_of_workers_is_reported_once(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CARELESS)
    result = run(pytester, "--triton-verdict", "-n", "2")
    assert result.stdout.str().count("connections_not_reused (wrong)") == 1
