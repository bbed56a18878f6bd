"""The fixtures that come with the package."""

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
