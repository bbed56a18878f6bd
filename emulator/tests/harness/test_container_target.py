"""`pytest --triton=container`: the fixtures stand in front of the real server in a container."""

import subprocess

import pytest

from contract_tests.tests.containers import require_engine, require_server_image
from emulator.tests.harness.test_targets import TESTS

pytest_plugins = ["pytester"]

A_TEST = "def test_it(triton): pass"


@pytest.fixture(scope="module")
def image() -> str:
    """An image of the real server. It is made before pytester gives a test a home of its own, without a cache."""
    return require_server_image()


def run_in_container(pytester: pytest.Pytester, image: str, *options: str) -> pytest.RunResult:
    """Run the tests that have been written, with a container of the image as the target."""
    given = ("--triton=container", f"--triton-image={image}", *options)
    return pytester.runpytest_subprocess(*given, "-p", "no:cacheprovider")


def containers_of(image: str) -> str:
    """The ids of all containers of an image."""
    command = ["docker", "ps", "--all", "--quiet", f"--filter=ancestor={image}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_same_tests_run_with_a_container_that_goes_with_them(
    pytester: pytest.Pytester, image: str
) -> None:
    pytester.makepyfile(TESTS)
    result = run_in_container(pytester, image)
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["the plan fault.error(503, *) for operation='infer' fired 0 of 1 times: *"])
    assert containers_of(image) == ""


LARGE = """
    import numpy as np, tritonclient.http

    def test_it(triton):
        tensor = tritonclient.http.InferInput("INPUT0", [20_000_000], "FP32")
        tensor.set_data_from_numpy(np.arange(20_000_000, dtype=np.float32))
        with tritonclient.http.InferenceServerClient(triton.http_url.removeprefix("http://")) as client:
            answer = client.infer("identity_fp32", [tensor])
        assert answer.as_numpy("OUTPUT0")[-1] == 19_999_999
"""


def test_a_python_model_takes_more_than_an_engine_s_64_mb_of_shared_memory(
    pytester: pytest.Pytester, image: str
) -> None:
    pytester.makepyfile(LARGE)
    result = run_in_container(pytester, image)
    result.assert_outcomes(passed=1)


def test_a_server_that_ends_before_it_is_ready_is_told_with_its_last_words(
    pytester: pytest.Pytester, image: str
) -> None:
    broken = pytester.mkdir("models") / "broken"
    broken.mkdir()
    (broken / "config.pbtxt").write_text("no config")
    pytester.makepyfile(A_TEST)
    result = run_in_container(pytester, image, "--triton-model-repository=models")
    result.assert_outcomes(errors=1)
    reason = "error: creating server: Internal - failed to load all models"
    result.stdout.fnmatch_lines(
        [f"--triton=container: the server of {image} has ended before it was ready: {reason}"]
    )
    assert containers_of(image) == ""


def test_an_image_that_is_not_there_is_named(pytester: pytest.Pytester) -> None:
    require_engine()
    pytester.makepyfile(A_TEST)
    result = run_in_container(pytester, "127.0.0.1:9/none:1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["--triton=container: the container of 127.0.0.1:9/none:1 does not start: *"])
