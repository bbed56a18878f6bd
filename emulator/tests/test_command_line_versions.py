"""The flags that versions after 2.51 have: known from their first version on, with their values and refusals.

What is expected was read in src/command_line_parser.cc of the server at r25.03, r25.04, r25.06 and r26.04.
"""

import pytest

from triton_emulator.cli.command_line import UsageError, parse
from triton_emulator.cli.flags import flags
from triton_emulator.cli.main import main, refusal
from triton_emulator.protocol.personality import personality

AMBIGUOUS = "option '--grpc-infer-=1' is ambiguous; possibilities:"
POOL_AND_LEVEL = "'--grpc-infer-allocation-pool-size' '--grpc-infer-response-compression-level'"
FIRST = [
    ("--grpc-max-response-pool-size=1", "2.56.0", "2.55.0"),
    ("--grpc-infer-thread-count=2", "2.57.0", "2.56.0"),
    ("--allow-client-shm=true", "2.68.0", "2.67.0"),
]


def refused(*arguments: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(arguments)
    return caught.value


@pytest.mark.parametrize("flag, first, before", FIRST)
def test_a_flag_is_unrecognized_before_its_first_version(flag: str, first: str, before: str) -> None:
    name = flag.partition("=")[0]
    parse([flag, f"--triton-version={first}"])
    error = refused(flag, f"--triton-version={before}")
    assert error.before == f"unrecognized option '{flag}'"
    assert error.advice == (f"tritonserver has {name} since {first}; this is {before} (--triton-version).",)
    assert refused(flag).before == f"unrecognized option '{flag}'"


def test_the_advice_is_printed_below_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/bin/triton-emulator"])
    assert refusal(refused("--allow-client-shm=1")) == (
        "triton-emulator: unrecognized option '--allow-client-shm=1'\n"
        "tritonserver has --allow-client-shm since 2.68.0; this is 2.51.0 (--triton-version).\n"
        "triton-emulator --help lists all flags.\n"
    )


@pytest.mark.parametrize(
    "flag, text",
    [
        ("--grpc-max-response-pool-size=0", "Error: --grpc-max-response-pool-size must be greater than 0."),
        ("--grpc-max-response-pool-size=-1", "Error: --grpc-max-response-pool-size must be greater than 0."),
        ("--grpc-max-response-pool-size=x", "Invalid option value. Got x\n"),
        (
            "--grpc-infer-thread-count=1",
            "invalid argument for --grpc_infer_thread_count. Must be in the range 2 to 128.",
        ),
        (
            "--grpc-infer-thread-count=129",
            "invalid argument for --grpc_infer_thread_count. Must be in the range 2 to 128.",
        ),
        ("--http-max-input-size=0", "Error: --http-max-input-size must be greater than 0."),
        ("--http-max-input-size=-1", "Error: --http-max-input-size must be greater than 0."),
        (
            "--http-max-input-size=9223372036854775808",
            "Provided option value is out of bound. Got 9223372036854775808\n",
        ),
        ("--allow-client-shm=yes", "invalid value for bool option: yes"),
    ],
)
def test_a_value_is_refused_in_the_words_of_the_server(flag: str, text: str) -> None:
    name = flag.partition("=")[0]
    assert refused("--triton-version=2.72.0", flag).after == f'Bad option: "{name}".\n{text}\n'


def test_the_largest_and_the_smallest_values_are_taken() -> None:
    settings = parse(
        [
            "--triton-version=2.72.0",
            "--grpc-infer-thread-count=2",
            "--grpc-infer-thread-count=128",
            "--grpc-max-response-pool-size=1",
            "--http-max-input-size=1",
            "--allow-client-shm=1",
        ]
    ).settings
    assert (settings.http_max_input_size, settings.allow_client_shm) == (1, True)
    assert settings.ignored_flags == ("grpc-infer-thread-count", "grpc-max-response-pool-size")


def test_a_body_limit_of_none_is_a_setting_of_ours_before_2_59() -> None:
    assert parse(["--http-max-input-size=0"]).settings.http_max_input_size == 0
    assert parse(["--max-request-size=0"]).settings.http_max_input_size == 0


def test_our_second_name_of_the_body_limit_takes_what_the_flag_of_the_version_takes() -> None:
    assert refused("--max-request-size=0", "--triton-version=2.72.0").after == (
        'Bad option: "--max-request-size".\nError: --max-request-size must be greater than 0.\n'
    )


@pytest.mark.parametrize(
    "line, before, after",
    [
        (
            "--allow-c=1",
            "",
            "option '--allow-c=1' is ambiguous; possibilities: '--allow-cpu-metrics' '--allow-client-shm'",
        ),
        (
            "--grpc-infer-=1",
            f"{AMBIGUOUS} {POOL_AND_LEVEL}",
            f"{AMBIGUOUS} '--grpc-infer-thread-count' {POOL_AND_LEVEL}",
        ),
        ("--http-m=1", "unrecognized option '--http-m=1'", ""),
    ],
)
def test_a_new_flag_changes_what_an_abbreviation_means(line: str, before: str, after: str) -> None:
    for version, text in (("2.51.0", before), ("2.72.0", after)):
        words = [line, f"--triton-version={version}", "--no-such-flag"]
        assert refused(*words).before == (text or "unrecognized option '--no-such-flag'")


def test_the_version_counts_wherever_it_stands() -> None:
    assert parse(["--allow-client-shm=0", "--triton-version", "2.72.0"]).settings.allow_client_shm is False


@pytest.mark.parametrize("name", ["--triton-version", "--triton-core-version"])
def test_an_unknown_version_is_refused_before_the_flags_after_it(name: str) -> None:
    assert refused(f"{name}=9", "--no-info").after.startswith(
        f"Bad option: \"{name}\".\n{name} knows no tritonserver '9'; it is one of 2.41.0, "
    )
    assert refused("--triton-version=9", "--allow-client-shm=1").after.startswith(
        'Bad option: "--triton-version".\n'
    )


def test_help_shows_the_flags_of_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--triton-version=2.72.0", "--help"]) == 0
    shown = capsys.readouterr().out
    names = [line.split()[0][2:] for line in shown.splitlines() if line.startswith("  --")]
    assert names == [flag.name for flag in flags(personality("2.72.0"))]
    assert "\nShared Memory:\n  --allow-client-shm <boolean>\n" in shown
    order = ("http-thread-count", "http-max-input-size", "http-restricted-api")
    assert [name for name in names if name in order] == list(order)
    order = ("grpc-infer-thread-count", "grpc-infer-allocation-pool-size", "grpc-max-response-pool-size")
    assert [name for name in names if name in order] == list(order)
