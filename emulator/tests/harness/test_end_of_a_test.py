"""What fails a test at its end, and how to allow it: tests of tests."""

import httpx
import pytest

from triton_emulator import Emulator

pytest_plugins = ["pytester"]

TEST = """
    import httpx
    import pytest
    from triton_emulator import fault

    pytestmark = pytest.mark.triton(model_control_mode="explicit", load_models=("simple",))
"""


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Import now what server and client need: pytester forgets the modules that a run within this process imports."""
    with Emulator(model_control_mode="explicit") as emulator:
        httpx.get(f"{emulator.http_url}/v2")


def run(pytester: pytest.Pytester, body: str, ini: str = "") -> pytest.RunResult:
    if ini:
        pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile(TEST + body)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers")


UNFIRED = """
    def test_it(triton):
        triton.inject(fault.error(503), operation="infer", model="simple", times=2)
"""
UNKNOWN = """
    def test_it(triton):
        httpx.get(f"{triton.http_url}/v2/models/simpel")
"""
INCOMPLETE = """
    def test_it(triton):
        triton.inject(fault.cut(after_bytes=1000), operation="server_metadata")
        httpx.get(f"{triton.http_url}/v2")
"""


@pytest.mark.parametrize(
    "body, line",
    [
        (
            UNFIRED,
            (
                "the plan fault.error(503, 'injected by a fault plan') for operation='infer', model='simple' fired 0 "
                "of 2 times: 0 fitting requests came"
            ),
        ),
        (UNKNOWN, "a request for what is not there: <JournalEntry 1: http model_metadata simpel: 404>"),
        (
            INCOMPLETE,
            (
                "the plan fault.cut(after_bytes=1000) for operation='server_metadata' fired 1 times and completed 0 "
                "times: fault.cut(after_bytes=1000) did not happen"
            ),
        ),
    ],
    ids=["a plan that did not fire", "a request for what is not there", "a plan that did not complete"],
)
def test_a_test_that_has_passed_fails(pytester: pytest.Pytester, body: str, line: str) -> None:
    result = run(pytester, body)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line.replace("[", "[[]")])


@pytest.mark.parametrize(
    "body, ini",
    [
        (UNFIRED.replace("triton.inject", "triton.allow('unfired'); triton.inject"), ""),
        (UNKNOWN.replace("httpx.get", "triton.allow('unknown'); httpx.get"), ""),
        (UNFIRED, "triton_allow = unfired"),
        (UNKNOWN, "triton_allow = unfired unknown"),
        (
            "\n    pytestmark = pytest.mark.triton(model_control_mode='explicit', allow='unfired')\n"
            + UNFIRED,
            "",
        ),
        (
            "\n    pytestmark = pytest.mark.triton(model_control_mode='explicit', allow=('unknown',))\n"
            + UNKNOWN,
            "",
        ),
    ],
    ids=[
        "allow, a plan",
        "allow, a request",
        "the ini setting",
        "two of them",
        "the marker",
        "the marker, a tuple",
    ],
)
def test_what_is_allowed_does_not_fail_it(pytester: pytest.Pytester, body: str, ini: str) -> None:
    run(pytester, body, ini).assert_outcomes(passed=1)


def test_what_is_allowed_stays_so_after_a_reset(pytester: pytest.Pytester) -> None:
    body = UNKNOWN.replace("httpx.get", "triton.reset(); httpx.get")
    run(pytester, body, "triton_allow = unknown").assert_outcomes(passed=1)


UNUSED = """
    def test_it(triton):
        triton.when(model="simple").respond({"OUTPUT0": [list(range(16))]})
"""


def test_a_stub_that_is_not_used_fails_a_test_unless_it_is_allowed(pytester: pytest.Pytester) -> None:
    result = run(pytester, UNUSED)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the stub for model='simple' was not used"])


def test_an_unused_stub_is_allowed_by_its_word(pytester: pytest.Pytester) -> None:
    run(pytester, UNUSED, "triton_allow = unused").assert_outcomes(passed=1)


def test_a_plan_that_is_removed_is_not_judged(pytester: pytest.Pytester) -> None:
    body = UNFIRED.replace("triton.inject", "plan = triton.inject") + "        plan.remove()\n"
    run(pytester, body).assert_outcomes(passed=1)


def test_a_test_that_has_failed_keeps_its_own_reason(pytester: pytest.Pytester) -> None:
    result = run(pytester, UNFIRED + "        assert 1 == 2\n")
    result.assert_outcomes(failed=1)
    assert "fired 0 of" not in result.stdout.str()


@pytest.mark.parametrize(
    "marker, outcome",
    [
        ("xfail(strict=True)", "xfailed"),
        ("xfail", "xfailed"),
        ("xfail(strict=True, raises=ValueError)", "failed"),
    ],
)
def test_a_problem_is_a_failure_to_xfail(pytester: pytest.Pytester, marker: str, outcome: str) -> None:
    body = UNFIRED.replace("def test_it", f"@pytest.mark.{marker}\n    def test_it")
    run(pytester, body).assert_outcomes(**{outcome: 1})


def test_a_strict_xfail_without_problems_fails_when_it_passes(pytester: pytest.Pytester) -> None:
    body = UNFIRED.replace("def test_it", "@pytest.mark.xfail(strict=True)\n    def test_it")
    result = run(pytester, body.replace("triton.inject", "triton.allow('unfired'); triton.inject"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*"])


def test_an_async_test_is_judged_too(pytester: pytest.Pytester) -> None:
    body = """
    @pytest.mark.anyio
    async def test_it(triton):
        triton.inject(fault.error(503), operation="infer")
"""
    result = run(
        pytester, body + '\n    @pytest.fixture\n    def anyio_backend():\n        return "asyncio"\n'
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*fired 0 of 1 times*"])


def test_the_marker_gives_the_session_its_models_and_options(pytester: pytest.Pytester) -> None:
    body = """
    @pytest.mark.triton(model_control_mode="explicit", load_models=("vllm",), id="mine")
    def test_it(triton):
        assert httpx.get(f"{triton.http_url}/v2").json()["name"] == "mine"
        assert httpx.get(f"{triton.http_url}/v2/models/vllm/ready").status_code == 200
        assert httpx.get(f"{triton.http_url}/v2/models/simple/ready").status_code == 400
"""
    run(pytester, body).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "body, ini, text",
    [
        (
            UNFIRED,
            "triton_allow = unfierd",
            "a problem is one of unfired, unused, unknown, exceptions, not 'unfierd'",
        ),
        (
            UNFIRED.replace("def test_it", "@pytest.mark.triton(lod_models=('x',))\n    def test_it"),
            "",
            "unexpected option lod_models; did you mean load_models?",
        ),
    ],
    ids=["a word of the ini setting", "an option of the marker"],
)
def test_a_mistake_in_the_setting_is_told(pytester: pytest.Pytester, body: str, ini: str, text: str) -> None:
    result = run(pytester, body, ini)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{text}*"])


def test_a_test_that_has_ended_keeps_no_session(pytester: pytest.Pytester) -> None:
    body = """
    import gc
    from triton_emulator import Session

    @pytest.mark.parametrize("number", range(3))
    def test_it(triton, number):
        httpx.get(f"{triton.http_url}/v2")

    def test_the_end(triton_emulator):
        gc.collect()
        sessions = [each for each in gc.get_objects() if isinstance(each, Session)]
        assert [each for each in sessions if each._emulator is triton_emulator] == []
"""
    run(pytester, body).assert_outcomes(passed=4)


@pytest.mark.parametrize("allow", ["5", "None"])
def test_a_marker_that_allows_what_is_no_word_is_told(pytester: pytest.Pytester, allow: str) -> None:
    body = f"""
    @pytest.mark.triton(allow={allow})
    def test_it(triton):
        pass
"""
    result = run(pytester, body)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"the marker's `allow` is a word or a list of words, not {allow}"])


def test_a_test_that_fails_by_itself_shows_what_was_not_there(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
    def test_by_an_assertion(triton):
        triton.inject(fault.error(503), operation="infer", model="simple")
        assert httpx.get(f"{triton.http_url}/v2/models/simpel").status_code == 200

    def test_by_a_word(triton):
        httpx.get(f"{triton.http_url}/v2/models/smiple")
        pytest.fail("no answer")

    def test_without_problems(triton):
        raise KeyError("tensor")
""",
    )
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "*assert 404 == 200*",
            "*- Captured triton call -*",
            "a request for what is not there: <JournalEntry 1: http model_metadata simpel: 404>",
            "E * Failed: no answer",
            "*- Captured triton call -*",
            "a request for what is not there: <JournalEntry 1: http model_metadata smiple: 404>",
        ]
    )
    assert result.stdout.str().count("Captured triton call") == 2
    assert "fired 0 of" not in result.stdout.str()
