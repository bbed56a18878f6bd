"""The command line: its settings, and its refusals, which have tritonserver's words."""

import re
import shlex
import subprocess
import sys

import pytest

from triton_contract.reference.installation import Installation
from triton_contract.reference.pytest_support import require_reference
from triton_emulator.cli.command_line import CommandLine, HelpAsked, UsageError, parse
from triton_emulator.cli.flag import Use
from triton_emulator.cli.flags import flags
from triton_emulator.cli.main import main
from triton_emulator.protocol.personality import personality
from triton_emulator.settings import RestrictedApis, Settings

# Every line ends with a flag that is refused, so that the real server stops quickly too.
SENTINEL = "--no-such-flag"

ACCEPTED = """
--id= --exit-timeout-secs=-1 --exit-timeout-secs=1.5
--log-verbose=TRUE --log-verbose=-1 --log-info=tRue --log-warning=0 --log-error False --log-format=ISO8601 --log-file=
--model-store=x --model-repository=x --model-st=x --model-control-mode=Poll --repository-poll-secs=0 --load-model=
--model-config-name=a --model-load-retry-count=-1 --strict-readiness=1 --exit-on-error=FALSE --enable-peer-access=0
--http-port=12abc --http-port 0x10 --http-po=1 --http-thread-count=0 --reuse-http-port=true
--http-header-forward-pattern=( --http-restricted-api=health,metadata:k:x=v=w --http-restricted-api=inference:k=v
--grpc-restricted-protocol=health:k=v --grpc-infer-response-compression-level=HIGH --grpc-use-ssl=0
--grpc-keepalive-permit-without-calls=1 --grpc-max-connection-age=+5
--allow-sagemaker=0 --sagemaker-safe-port-range=9-5 --sagemaker-safe-port-range=1-2-3 --vertex-ai-default-model=x
--metrics-interval-ms=1e3 --metrics-config=a=b=c --allow-gpu-metrics=0 --allow-cpu-metrics=1
--trace-config=a=b=c --trace-config=level=whatever --trace-config=TRITON,rate=abc --trace-config=opentelemetry,url=x
--backend-config=a=b --backend-config=foo=a,b=c --backend-config=foo,bar=a,b=c --backend-directory=
--cache-config=local,size=abc --cache-config=a=b,c=d --cache-config=local,a=1,b=2 --repoagent-directory=x
--rate-limit=Execution_Count --rate-limit-resource=:1 --rate-limit-resource=a:1 --rate-limit-resource=a:1:-1
--pinned-memory-pool-byte-size=9223372036854775807 --cuda-memory-pool-byte-size=0:18446744073709551615
--cuda-memory-pool-byte-size=0:1:2 --cuda-memory-pool-byte-size=-1:-1 --cuda-virtual-address-size=0:1
--min-supported-compute-capability=.5 --min-supported-compute-capability=inf --min-supported-compute-capability=1e3x
--host-policy=a,numa-node=b --model-load-gpu-limit=0:0.5 --buffer-manager-thread-count=1
--disable-auto --strict-r=0 --strict-model-config=false --response-cache-byte-size=5
--trace-level=min --trace-level=Tensors --trace-level=false --trace-file=x --trace-rate=1 --trace-count=-9 --trace-log=2
"""

REFUSED = """
--http
--http=9
--m
--l
--s
--g
-h
-xy
-http-port=1
--=1
--model-=x
--help=3
--disable-auto-complete-config=true
--log-info=yes
--log-info=
--log-info=2
--log-verbose=x
--log-verbose=
--log-format=iso8601
--http-port=abc
--http-port=
--http-port=2147483648
--http-port=-2147483649
--http-port=99999999999999999999999999
--http-port=5 --http-port=x
--http-port=abc --help
--pinned-memory-pool-byte-size=9223372036854775808
--cuda-memory-pool-byte-size=x
--cuda-memory-pool-byte-size=0
--cuda-memory-pool-byte-size=:1
--cuda-memory-pool-byte-size=0:
--cuda-memory-pool-byte-size=0:18446744073709551616
--cuda-virtual-address-size=99999999999:1
--min-supported-compute-capability=x
--min-supported-compute-capability=.
--min-supported-compute-capability=1e400
--model-load-gpu-limit=x
--model-load-gpu-limit=0:x
--sagemaker-safe-port-range=1
--sagemaker-safe-port-range=-1-2
--model-control-mode=none_
--model-config-name=
--rate-limit=foo
--grpc-infer-response-compression-level=foo
--http-restricted-api=
--http-restricted-api=health
--http-restricted-api=health:key
--http-restricted-api=:key=v
--http-restricted-api=health:=v
--http-restricted-api=health:=b:c=d
--http-restricted-api=health:k=
--http-restricted-api=foo:key=v
--http-restricted-api=Health:key=v
--http-restricted-api=health,:k=v
--http-restricted-api=a=b:c=d
"--http-restricted-api=health, metadata:key=v"
--http-restricted-api=health,health:key=v
--http-restricted-api=trace:key=v --http-restricted-api=logging,trace:other=v
--grpc-restricted-protocol=foo:key=v
--grpc-restricted-protocol=health
--grpc-restricted-protocol=health:k=v --grpc-restricted-protocol=health:k2=v
--metrics-config=
--metrics-config=foo
--metrics-config=foo=
--metrics-config==foo
--metrics-config=local,size=3
--backend-config=
--backend-config=foo
--backend-config=foo,
--backend-config=foo,bar
--backend-config=foo,=3
--backend-config=foo,a=
--backend-config=foo=,b
--backend-config=,a=b
--backend-config=,a
--backend-config==b
--cache-config=
--cache-config=foo
--cache-config=size=3
--cache-config=,a=b
--cache-config=local,size
--cache-config=local,size=
--host-policy=a
--host-policy=a=b
--host-policy=a,b
--host-policy=,b=c
--rate-limit-resource=
--rate-limit-resource=a
--rate-limit-resource=a:b
--rate-limit-resource=a:1:
--rate-limit-resource=a:1:2:3
--trace-config=
--trace-config=triton
--trace-config=triton,a
--trace-config=triton,a=
--trace-config==a
--trace-config=,a=b
--trace-config=foo,a=1
--trace-config=level=OFF,rate=3
--trace-level=foo
--trace-level=TIMESTAMPS --trace-rate=x
--trace-log-frequency=x
--strict-model-config=x
--response-cache-byte-size=x
"""

# These faults are found after all flags have been read, in this order, before the server tries to start.
REFUSED_AT_THE_END = """
--http-port
--id
--log-info=1 --log-info
a
a --load-model=x
-
-- --id
--load-model=x --trace-config=rate=x
--load-model=* --model-control-mode=poll
--trace-config=rate=x
--trace-config=rate=x --trace-config=rate=3
--trace-config=count=x --trace-config=rate=x
--trace-config=level=1
--trace-config=mode=x --trace-config=level=x
--trace-config=triton,log-frequency=x
--trace-config=mode=opentelemetry --trace-config=opentelemetry,bsp_max_queue_size=x
--trace-config=rate=x --http-port=9700 --grpc-port=9700
--http-address=0.0.0.0 --grpc-address=0.0.0.0 --http-port=9700 --grpc-port=9700
--http-address=0.0.0.0 --grpc-address=0.0.0.0 --http-port=9700 --metrics-port=9700
--http-address=0.0.0.0 --grpc-address=0.0.0.0 --grpc-port=9700 --metrics-port=9700
--response-cache-byte-size=100 --cache-config=local,size=100
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.fixture(scope="module")
def real() -> Installation:
    return require_reference()


def run(real: Installation, arguments: list[str]) -> tuple[int, str]:
    command = [*real.program, *arguments]
    ended = subprocess.run(
        command,
        env=real.environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return ended.returncode, ended.stderr


@pytest.fixture(scope="module")
def real_usage(real: Installation) -> str:
    return run(real, ["--help"])[1]


def refusal(arguments: list[str]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    return caught.value


def printed(error: UsageError, program: str, usage: str) -> str:
    """What tritonserver prints for such an error; `usage` is what it prints for --help."""
    notes = "".join(f"{note}\n" for note in error.notes)
    if error.before:
        return f"{notes}{program}: {error.before}\n{usage}"
    return f"{notes}{usage[:-1]}{error.after}\n"


@pytest.mark.parametrize(
    "line", [*(f"{line} {SENTINEL}" for line in lines(REFUSED)), *lines(REFUSED_AT_THE_END)]
)
def test_refused_in_the_words_of_the_real_server(real: Installation, real_usage: str, line: str) -> None:
    arguments = shlex.split(line)
    assert run(real, arguments) == (1, printed(refusal(arguments), real.program[0], real_usage))


@pytest.mark.parametrize("line", lines(ACCEPTED))
def test_accepted_as_by_the_real_server(real: Installation, real_usage: str, line: str) -> None:
    arguments = [*shlex.split(line), SENTINEL]
    ours = refusal(arguments)
    assert ours.before == f"unrecognized option '{SENTINEL}'"
    assert run(real, arguments) == (1, printed(ours, real.program[0], real_usage))


def test_every_flag_of_the_real_server_is_known_in_its_order_and_none_is_added(real_usage: str) -> None:
    names = [line.split()[0][2:] for line in real_usage.splitlines() if line.startswith("  --")]
    assert [flag.name for flag in flags(personality("2.51.0")) if flag.use is not Use.OURS] == names


def test_every_flag_takes_an_argument_where_the_real_one_does(real_usage: str) -> None:
    hints = {
        line.split()[0][2:]: " ".join(line.split()[1:])
        for line in real_usage.splitlines()
        if line[:4] == "  --"
    }
    assert {
        flag.name: flag.hint for flag in flags(personality("2.51.0")) if flag.use is not Use.OURS
    } == hints


def test_an_empty_command_line_gives_the_defaults() -> None:
    assert parse([]) == CommandLine(Settings())


@pytest.mark.parametrize(
    "line, field, value",
    [
        ("--model-repository=a --model-store b --model-repository=c", "model_repositories", ("a", "b", "c")),
        ("--model-control-mode=EXPLICIT --load-model=x --load-model=y", "load_models", ("x", "y")),
        ("--http-port=0x10", "http_port", 0),
        ("--http-port=1 --http-port=2", "http_port", 2),
        ("--log-verbose=true", "log_verbose", 1),
        ("--strict-model-config=true", "disable_auto_complete_config", True),
        ("--disable-auto-complete-config", "disable_auto_complete_config", True),
        ("--strict-readiness=0", "strict_readiness", False),
        (
            "--http-restricted-api=health,trace:key=a=b",
            "http_restricted_apis",
            (RestrictedApis(frozenset({"health", "trace"}), "key", "a=b"),),
        ),
        (
            "--backend-config=a=b --backend-config=python,c=d",
            "backend_config",
            (("", "a", "b"), ("python", "c", "d")),
        ),
        ("--response-cache-byte-size=7", "cache_config", (("local", "size", "7"),)),
        ("--metrics-config=summary_latencies=true", "metrics_config", (("summary_latencies", "true"),)),
        (
            "--rate-limit-resource=r:4 --rate-limit-resource=r:5:0",
            "rate_limit_resources",
            (("r", 4, -1), ("r", 5, 0)),
        ),
        ("--trace-config=level=MIN --trace-level=tensors", "trace_level", ("TENSORS", "TIMESTAMPS")),
        ("--trace-config=rate=3 --trace-config=rate=4", "trace_rate", 4),
        ("--trace-config=triton,file=f --trace-config=opentelemetry,file=g", "trace_file", "f"),
        ("--trace-config=triton,log-frequency=9", "trace_log_frequency", 9),
        ("--trace-config=triton,a=b --trace-config=opentelemetry,c=d", "trace_mode_settings", (("a", "b"),)),
        (
            "--trace-config=mode=OpenTelemetry --trace-config=opentelemetry,c=d",
            "trace_mode_settings",
            (("c", "d"),),
        ),
        ("--max-request-size=5", "http_max_input_size", 5),
        ("--strict-routes", "strict_routes", True),
        ("--seed=-7", "seed", -7),
        (
            "--pinned-memory-pool-byte-size=1 --enable-peer-access=0 --pinned=2",
            "ignored_flags",
            (
                "pinned-memory-pool-byte-size",
                "enable-peer-access",
            ),
        ),
    ],
)
def test_a_command_line_sets(line: str, field: str, value: object) -> None:
    assert getattr(parse(shlex.split(line)).settings, field) == value


def test_a_setting_that_nothing_looks_at_is_kept_and_named() -> None:
    settings = parse(["--backend-config=python,shm-default-byte-size=5", "--rate-limit=off"]).settings
    assert settings.rate_limit == "off"
    assert "rate-limit" in settings.ignored_flags


def test_ports_are_free_ones_where_they_are_zero_so_they_may_all_be() -> None:
    assert parse(["--http-port=0", "--grpc-port=0", "--metrics-port=0"]).settings.http_port == 0


def test_a_port_may_be_taken_twice_where_one_of_the_two_is_off() -> None:
    assert parse(["--http-port=9", "--grpc-port=9", "--allow-grpc=false"]).settings.grpc_port == 9


def test_our_own_flags_take_no_abbreviation_so_that_those_of_the_real_server_keep_their_meaning() -> None:
    assert parse(["--strict-r=false"]).settings.strict_readiness is False
    assert refusal(["--strict-ro"]).before == "unrecognized option '--strict-ro'"
    assert refusal(["--see=1"]).before == "unrecognized option '--see=1'"


def test_an_unknown_version_is_refused() -> None:
    assert refusal(["--triton-version=2.40.0"]).after.startswith(
        "Bad option: \"--triton-version\".\n--triton-version knows no tritonserver '2.40.0'; it is one of 2.41.0, "
    )


@pytest.mark.parametrize("version", ["2.59.0", "2.72.0"])
@pytest.mark.parametrize("size", ["0", "-1"])
def test_the_size_of_an_input_is_above_0_where_triton_has_the_flag(version: str, size: str) -> None:
    for arguments in (
        [f"--http-max-input-size={size}", f"--triton-version={version}"],
        [f"--triton-version={version}", f"--http-max-input-size={size}"],
    ):
        assert (
            refusal(arguments).after
            == 'Bad option: "--http-max-input-size".\nError: --http-max-input-size must be greater than 0.\n'
        )


@pytest.mark.parametrize("version", ["2.51.0", "2.58.0"])
def test_a_size_of_0_is_no_limit_where_triton_has_no_such_flag(version: str) -> None:
    line = parse([f"--triton-version={version}", "--http-max-input-size=0"])
    assert line.settings.http_max_input_size == 0


@pytest.mark.parametrize(
    ("flag", "before", "first"),
    [
        ("model-load-retry-count=1", "2.41.0", "2.42.0"),
        ("grpc-max-connection-age=1000", "2.41.0", "2.42.0"),
        ("grpc-max-connection-age-grace=1000", "2.41.0", "2.42.0"),
        ("model-config-name=large", "2.45.0", "2.46.0"),
        ("enable-peer-access=true", "2.46.0", "2.47.0"),
    ],
)
def test_a_version_refuses_the_flags_that_came_after_it(flag: str, before: str, first: str) -> None:
    assert refusal([f"--{flag}", f"--triton-version={before}"]).before == f"unrecognized option '--{flag}'"
    assert parse([f"--{flag}", f"--triton-version={first}"]).settings.triton_version == first


def test_a_prefix_is_not_ambiguous_for_flags_that_a_version_does_not_have() -> None:
    assert parse(["--model-load-r=3"]).settings.model_load_retry_count == 3
    assert refusal(["--model-load-r=3", "--triton-version=2.41.0"]).before == (
        "unrecognized option '--model-load-r=3'"
    )


def test_until_2_46_a_model_to_load_needs_no_control_mode() -> None:
    assert refusal(["--load-model=a", "--triton-version=2.47.0"]).after == (
        "Error: Use of '--load-model' requires setting '--model-control-mode=explicit' as well."
    )
    assert parse(["--load-model=a", "--triton-version=2.46.0"]).settings.model_control_mode == "none"


def test_help_wins_over_a_later_fault() -> None:
    with pytest.raises(HelpAsked):
        parse(["--help", SENTINEL])


def test_help_is_no_failure_and_shows_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0][2:] for line in shown.splitlines() if line.startswith("  --")] == [
        f.name for f in flags(personality("2.51.0"))
    ]
    assert all(len(line.expandtabs()) <= 120 for line in shown.splitlines())


def test_help_says_what_has_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    entries = capsys.readouterr().out.split("\n  --")[1:]
    silent = {entry.split()[0] for entry in entries if "Has no effect here." in " ".join(entry.split())}
    assert silent == {flag.name for flag in flags(personality("2.51.0")) if flag.use is Use.IGNORED}
    assert {"rate-limit", "rate-limit-resource", "host-policy"} <= silent


@pytest.mark.parametrize(
    "value, ignored",
    [
        ("default-max-batch-size=8", ()),
        ("onnxruntime,default-max-batch-size=8", ()),
        ("onnxruntime,enable-global-threadpool=1", ("backend-config",)),
    ],
)
def test_one_setting_of_backends_has_an_effect(value: str, ignored: tuple[str, ...]) -> None:
    assert parse([f"--backend-config={value}"]).settings.ignored_flags == ignored


@pytest.mark.parametrize(
    ("argument", "printed"),
    [
        ("--htp-port=1", "pytest: unrecognized option '--htp-port=1'\nDid you mean --http-port?\n"),
        (SENTINEL, f"pytest: unrecognized option '{SENTINEL}'\n"),
        ("--http-port=x", 'Bad option: "--http-port".\nInvalid option value. Got x\n'),
        ("--model-store", "pytest: option '--model-store' requires an argument\n"),
    ],
)
def test_a_refusal_is_short_and_names_the_nearest_flag(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argument: str, printed: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert main([argument]) == 1
    assert capsys.readouterr().err == f"{printed}pytest --help lists all flags.\n"


def test_the_version_names_the_triton_that_the_program_acts_as(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"triton-emulator \d+\.\d+\.\d+ \(Triton 2\.51\.0\)\n", capsys.readouterr().out)
