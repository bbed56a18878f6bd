"""One fixture, any target: `pytest --triton=emulator|wheel|container|URL`, and tests that record and replay."""

from collections.abc import Iterator

import pytest

from triton_contract.reference.pytest_support import require_reference
from triton_emulator import Emulator

pytest_plugins = ["pytester"]

TESTS = """
    import httpx, numpy as np, pytest, tritonclient.grpc
    from triton_emulator import fault

    BODY = {"inputs": [{"name": f"INPUT{n}", "datatype": "INT32", "shape": [1, 16], "data": [n] * 16} for n in (0, 1)]}

    def test_http_and_the_journal(triton):
        answer = httpx.post(f"{triton.http_url}/v2/models/simple/infer", json=BODY)
        assert answer.json()["outputs"][0]["data"] == [1] * 16
        assert triton.url == triton.http_url
        assert triton.requests.last.inputs["INPUT1"].tolist() == [[1] * 16]
        triton.assert_requested("infer", model="simple", times=1)

    def test_grpc(triton):
        client = tritonclient.grpc.InferenceServerClient(triton.grpc_url)
        assert client.get_server_metadata().version == "2.51.0"
        client.close()
        assert triton.requests.last.protocol == "grpc"

    def test_metrics(triton):
        assert "nv_inference_request_success" in httpx.get(triton.metrics_url).text

    def test_faults(triton):
        plan = triton.inject(fault.error(503, "busy"), operation="infer")
        assert httpx.post(f"{triton.http_url}/v2/models/simple/infer", json=BODY).status_code == 503
        assert plan.completed == 1

    def test_a_plan_that_does_not_fire_fails(triton):
        triton.inject(fault.error(503), operation="infer")
"""

NEEDS_MODELS = """
    import httpx, pytest
    from triton_emulator import fault

    @pytest.mark.triton("models")
    def test_other_models(triton): raise AssertionError

    @pytest.mark.triton(load_models=("simple",), model_control_mode="explicit", journal_requests=5)
    def test_options(triton): raise AssertionError

    @pytest.mark.triton(journal_requests=5, clock="real")
    def test_options_of_the_journal(triton): assert triton.requests.count == 0

    def test_a_changed_answer(triton):
        triton.inject(fault.wrong_output("OUTPUT0", drop=True))

    def test_a_stub(triton):
        triton.when("infer", model="simple")

    def test_a_session_of_its_own(triton_emulator):
        triton_emulator.session(model_control_mode="explicit")

    def test_another_session(triton, triton_emulator):
        triton_emulator.session("models")

    @pytest.mark.triton(clock="virtual")
    def test_time(triton): raise AssertionError

    @pytest.mark.triton(triton_version="2.50.0")
    def test_a_version(triton): raise AssertionError

    @pytest.mark.triton(faults=("wrong_output('OUTPUT0', drop=True)",))
    def test_a_changed_answer_from_the_start(triton): raise AssertionError

    @pytest.fixture
    def stubbed(triton):
        triton.when("infer", model="simple")

    def test_a_stub_of_a_fixture(stubbed): raise AssertionError

    def test_a_journal_of_its_own(triton_emulator):
        with triton_emulator.session(journal_requests=1) as session:
            assert httpx.get(f"{session.http_url}/v2/health/live").status_code == 200

    @pytest.mark.triton(seed=1, faults=("delay(0) operation=server_live",))
    def test_plans(triton):
        assert httpx.get(f"{triton.http_url}/v2/health/live").status_code == 200
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    """A server with a URL."""
    with Emulator() as emulator:
        yield emulator


def flags(server: Emulator) -> list[str]:
    return [
        f"--triton={server.http_url}",
        f"--triton-grpc={server.grpc_url}",
        f"--triton-metrics={server.metrics_url}",
        "-p",
        "no:cacheprovider",
    ]


def test_the_same_tests_run_with_the_emulator_and_at_a_url(
    pytester: pytest.Pytester, server: Emulator
) -> None:
    pytester.makepyfile(TESTS)
    for words in (["-p", "no:cacheprovider"], flags(server)):
        result = pytester.runpytest_subprocess(*words)
        result.assert_outcomes(passed=4, failed=1)
        result.stdout.fnmatch_lines(
            ["the plan fault.error(503, *) for operation='infer' fired 0 of 1 times: *"]
        )


def test_the_same_tests_run_with_the_wheel(pytester: pytest.Pytester) -> None:
    require_reference()
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("--triton=wheel", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4, failed=1)


def test_the_target_is_an_ini_setting(pytester: pytest.Pytester, server: Emulator) -> None:
    pytester.makeini(f"[pytest]\ntriton = {server.http_url}\ntriton_grpc = {server.grpc_url}\n")
    pytester.makepyfile(
        f"""
        def test_it_stands_before_the_server(triton, triton_emulator):
            assert triton_emulator.settings.upstream == "{server.http_url}"
            assert triton_emulator.settings.upstream_grpc == "{server.grpc_url}"
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_what_a_target_cannot_do_is_skipped_with_the_reason(
    pytester: pytest.Pytester, server: Emulator
) -> None:
    pytester.makepyfile(NEEDS_MODELS)
    result = pytester.runpytest_subprocess("-rs", *flags(server))
    result.assert_outcomes(passed=3, skipped=10)
    result.stdout.fnmatch_lines_random(
        [
            f"SKIPPED * --triton={server.http_url}: the server has the models that it was started with",
            f"SKIPPED * --triton={server.http_url}: a server that runs cannot be given load_models, model_control_mode",
            f"SKIPPED * --triton={server.http_url}: fault.wrong_output('OUTPUT0', drop=True) changes what a model *",
            f"SKIPPED * --triton={server.http_url}: a stub answers in place of a model; *",
            f"SKIPPED * --triton={server.http_url}: a server that runs cannot be given model_control_mode",
            f"SKIPPED * --triton={server.http_url}: a server that runs cannot be given clock",
            f"SKIPPED * --triton={server.http_url}: a server that runs cannot be given triton_version",
        ]
    )


WITHOUT_ADDRESSES = """
    import pytest

    def test_grpc(triton): triton.grpc_url

    def test_metrics(triton): triton.metrics_url

    def test_grpc_of_all(triton_emulator): triton_emulator.grpc_url

    def test_metrics_of_all(triton_emulator): triton_emulator.metrics_url

    def test_http(triton): assert triton.http_url
"""


def test_a_port_of_the_server_that_is_not_known_skips_the_tests_that_ask_for_it(
    pytester: pytest.Pytester, server: Emulator
) -> None:
    pytester.makepyfile(WITHOUT_ADDRESSES)
    result = pytester.runpytest_subprocess("-rs", f"--triton={server.http_url}", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=4)
    before = f"SKIPPED * --triton={server.http_url}: the"
    result.stdout.fnmatch_lines_random(
        [
            f"{before} gRPC port of the server is not known; name it by --triton-grpc",
            f"{before} URL of the metrics of the server is not known; name it by --triton-metrics",
        ]
    )


NEEDS_A_SERVER = """
    import httpx, pytest

    @pytest.mark.triton(record="cassette")
    def test_a_recording(triton): httpx.get(f"{triton.http_url}/v2")

    @pytest.mark.triton(shadow="models")
    def test_a_comparison(triton): assert triton.shadow_report.compared == 0
"""


def test_what_only_a_real_server_can_do_is_skipped_with_the_emulator(
    pytester: pytest.Pytester, server: Emulator
) -> None:
    pytester.makepyfile(NEEDS_A_SERVER)
    pytester.mkdir("models")
    result = pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED * --triton=emulator: record needs upstream, whose answers it records",
            "SKIPPED * --triton=emulator: shadow needs upstream, whose answers it is compared with",
        ]
    )
    pytester.runpytest_subprocess(*flags(server)).assert_outcomes(passed=2)
    assert (pytester.path / "cassette" / "http" / "server_metadata.yaml").is_file()


@pytest.mark.parametrize("target", ["emulator", "a URL"])
def test_an_option_that_there_is_not_fails_with_any_target(
    pytester: pytest.Pytester, server: Emulator, target: str
) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.triton(clok="virtual")
        def test_it(triton): pass
        """
    )
    words = flags(server) if target == "a URL" else ["-p", "no:cacheprovider"]
    result = pytester.runpytest_subprocess(*words)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E * TypeError: unexpected option clok; did you mean clock?"])


@pytest.mark.parametrize(
    "words, text",
    [
        (
            ["--triton=http://127.0.0.1:1", "--triton-model-repository=."],
            "--triton=http://127.0.0.1:1: --triton-model-repository is for --triton=emulator, wheel, container; *",
        ),
        (
            ["--triton-grpc=127.0.0.1:1"],
            "--triton=emulator: --triton-grpc is for --triton=the URL of a server; leave it out",
        ),
        (
            ["--triton=wheel", "--triton-metrics=http://127.0.0.1:1"],
            "--triton=wheel: --triton-metrics is for --triton=the URL of a server; leave it out",
        ),
        (
            ["--triton=wheel", "--triton-image=mine"],
            "--triton=wheel: --triton-image is for --triton=container; leave it out",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_flag_of_another_target_is_refused(pytester: pytest.Pytester, words: list[str], text: str) -> None:
    pytester.makepyfile("def test_it(triton): pass")
    result = pytester.runpytest_subprocess(*words, "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([text])


@pytest.mark.parametrize(
    "words, text",
    [
        (
            ["--triton=wheels"],
            "--triton=wheels: a target is emulator, wheel, container or the URL of a server, not 'wheels'",
        ),
        (["--triton=http://host:port"], "--triton=http://host:port: 'http://host:port' is no URL: *"),
        (
            ["--triton=wheel", "--triton-model-repository=a", "--triton-model-repository=b"],
            "--triton=wheel: the target wheel serves one model repository, not 2",
        ),
        (
            ["--triton=wheel", "--triton-model-repository=a"],
            "--triton=wheel: the real server of the wheel does not start: *",
        ),
        (["--triton=container"], "--triton=container: there is no container engine: *"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_target_that_cannot_be_started_fails_with_the_reason(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    for name in "ab":
        broken = pytester.mkdir(name) / "m"
        broken.mkdir()
        (broken / "config.pbtxt").write_text("no config")
    pytester.makepyfile("def test_it(triton): pass")
    result = pytester.runpytest_subprocess(*words, "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([text])


def test_triton_s_own_ports_are_assumed_beside_port_8000() -> None:
    from triton_emulator.pytest_targets import Addresses, at_url

    assert at_url("http://host:8000") == Addresses(
        "http://host:8000", "host:8001", "http://host:8002/metrics"
    )
    assert at_url("http://[::1]:8000").grpc == "[::1]:8001"
    assert at_url("http://host:9000") == Addresses("http://host:9000")
    assert at_url("http://host:8000", "other:1").grpc == "other:1"


CASSETTES = """
    import httpx, pytest, tritonclient.grpc

    @pytest.mark.triton_cassette
    @pytest.mark.parametrize("model", ["simple", "vllm"])
    def test_names(triton, model):
        assert httpx.get(f"{triton.http_url}/v2/models/{model}").json()["name"] == model

    @pytest.mark.triton_cassette("mine", replay_timing="recorded")
    def test_grpc(triton):
        client = tritonclient.grpc.InferenceServerClient(triton.grpc_url)
        assert client.is_server_live()
        client.close()
"""


def test_a_test_records_when_it_first_passes_and_replays_afterwards(pytester: pytest.Pytester) -> None:
    file = pytester.makepyfile(CASSETTES)
    with Emulator() as server:
        result = pytester.runpytest_subprocess(*flags(server), "-n", "2")
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines_random(
            [
                "*= recordings of Triton =*",
                f"*::test_names[[]vllm[]]: 1 exchange (1 http model_metadata vllm) into {file.parent}/cassettes/*",
                f"*::test_grpc: 1 exchange (1 grpc server_live) into {file.parent}/mine",
            ]
        )
    cassettes = sorted(
        str(path.parent.relative_to(file.parent)) for path in file.parent.rglob("cassette.yaml")
    )
    stem = file.stem
    assert [name.rpartition("-")[0] or name for name in cassettes] == [
        f"cassettes/{stem}/test_names_simple_",
        f"cassettes/{stem}/test_names_vllm_",
        "mine",
    ]
    # the server is gone; the target may be any
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)
    pytester.runpytest_subprocess(*flags(server)).assert_outcomes(passed=3)


def test_a_test_without_a_cassette_needs_a_server(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(CASSETTES)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        ["there is no cassette *mine; run the test once with --triton=wheel, container or a URL *"]
    )


def test_a_test_that_fails_keeps_no_cassette(pytester: pytest.Pytester, server: Emulator) -> None:
    file = pytester.makepyfile(
        """
        import httpx, pytest

        @pytest.mark.triton_cassette
        def test_it(triton):
            httpx.get(f"{triton.http_url}/v2")
            raise AssertionError
        """
    )
    pytester.runpytest_subprocess(*flags(server)).assert_outcomes(failed=1)
    assert not (file.parent / "cassettes").exists()


def test_a_request_that_was_not_recorded_fails_the_test(pytester: pytest.Pytester, server: Emulator) -> None:
    text = """
        import httpx, pytest

        @pytest.mark.triton_cassette
        def test_it(triton):
            httpx.get(f"{{triton.http_url}}/v2/models/{model}")
        """
    file = pytester.makepyfile(text.format(model="simple"))
    pytester.runpytest_subprocess(*flags(server)).assert_outcomes(passed=1)
    file.write_text("\n".join(line[8:] for line in text.format(model="vllm").splitlines()))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no recording of *test_it answers this request: http model_metadata vllm"])
