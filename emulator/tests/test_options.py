"""The options of `Emulator` and of a session: their types are those of Settings, and a wrong name is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import httpx
import pytest

from triton_emulator import Emulator, EmulatorOptions, RestrictedApis, SessionOptions, Settings
from triton_emulator.cli.command_line import UsageError, parse

#: Fields of Settings that are no keyword: folders are positional, and only the command has the other two.
NO_OPTIONS = {"model_repositories", "ignored_flags", "workers"}
#: Flags without which the flag with such a word is refused.
COMPANY = {"emulate": ["--replay=c"], "upstream": ["--replay=c", "--upstream=http://host"]}
CHOICES = {
    name: get_args(kind)
    for name, kind in get_type_hints(EmulatorOptions).items()
    if get_origin(kind) is Literal
}


def test_the_options_are_the_fields_of_settings() -> None:
    options = {
        name: str if name in CHOICES else kind for name, kind in get_type_hints(EmulatorOptions).items()
    }
    fields = {name: kind for name, kind in get_type_hints(Settings).items() if name not in NO_OPTIONS}
    assert options == fields


def test_the_options_of_a_session_are_options_of_the_emulator_with_the_same_types() -> None:
    assert get_type_hints(SessionOptions).items() < get_type_hints(EmulatorOptions).items()


def test_only_listeners_and_the_process_are_shared_by_all_sessions() -> None:
    shared = get_type_hints(EmulatorOptions).keys() - get_type_hints(SessionOptions).keys()
    listeners = ("allow_", "reuse_", "http_", "grpc_", "metrics_", "control_")
    assert {name for name in shared if not name.startswith(listeners)} == {"exit_timeout_secs"}


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_the_words_that_an_option_offers_are_those_that_its_flag_takes(name: str) -> None:
    flag = "--trace-config=mode" if name == "trace_mode" else "--" + name.replace("_", "-")
    for word in CHOICES[name]:
        assert getattr(parse([f"{flag}={word}", *COMPANY.get(word, ())]).settings, name) == word
    with pytest.raises(UsageError):
        parse([f"{flag}=another"])


def open_session(**options: Any) -> object:
    return Emulator().session(**options)


@pytest.mark.parametrize("make", [Emulator, open_session], ids=["an emulator", "a session"])
@pytest.mark.parametrize(
    "name, advice",
    [
        ("load_model", "did you mean load_models?"),
        ("sed", "did you mean seed?"),
        ("exit-on-error", "did you mean exit_on_error?"),
        ("frobnicate", "the options are tritonserver's flags with underscores"),
        ("model_repository", "model repositories are the positional arguments"),
        ("model_repositories", "model repositories are the positional arguments"),
        ("models", "model repositories are the positional arguments"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_right_one(
    make: Callable[..., object], name: str, advice: str
) -> None:
    with pytest.raises(TypeError) as refused:
        make(**{name: 1})
    assert str(refused.value) == f"unexpected option {name}; {advice}"


def test_an_option_that_all_sessions_share_is_refused_to_one() -> None:
    with pytest.raises(
        ValueError, match=r"^exit_timeout_secs is an option of the whole emulator, not of a session$"
    ):
        open_session(exit_timeout_secs=1)


@pytest.mark.parametrize("make", [Emulator, open_session], ids=["an emulator", "a session"])
@pytest.mark.parametrize(
    "name, value, text",
    [
        ("seed", "7", "seed is of the type int, not '7'"),
        ("seed", True, "seed is of the type int, not True"),
        ("exit_on_error", "false", "exit_on_error is of the type bool, not 'false'"),
        ("model_config_name", 1, "model_config_name is of the type str, not 1"),
        ("load_models", "simple", "load_models is a tuple, for example ('a', 'b'), not 'simple'"),
        ("rate_limit_resources", 4, "rate_limit_resources is a tuple, not 4"),
        ("simulated_gpus", True, "simulated_gpus is of the type int | None, not True"),
        ("load_models", ("a", 1), "each element of load_models is str, not 1"),
        ("metrics_config", (("a",),), "each element of metrics_config is (str, str), not ('a',)"),
        ("metrics_config", (["a", "b"],), "each element of metrics_config is (str, str), not ['a', 'b']"),
        (
            "cache_config",
            (("local", "size", 10),),
            "each element of cache_config is (str, str, str), not ('local', 'size', 10)",
        ),
        (
            "rate_limit_resources",
            (("R1", 4, True),),
            "each element of rate_limit_resources is (str, int, int), not ('R1', 4, True)",
        ),
        (
            "http_restricted_apis",
            ("health",),
            "each element of http_restricted_apis is RestrictedApis, not 'health'",
        ),
        (
            "trace_level",
            ("MIN",),
            "each element of trace_level is 'OFF' or 'TIMESTAMPS' or 'TENSORS', not 'MIN'",
        ),
    ],
)
def test_a_value_of_another_type_is_refused(
    make: Callable[..., object], name: str, value: object, text: str
) -> None:
    with pytest.raises(TypeError) as refused:
        make(**{name: value})
    assert str(refused.value) == text


@pytest.mark.parametrize("make", [Emulator, open_session], ids=["an emulator", "a session"])
@pytest.mark.parametrize(
    "name, value, least, largest",
    [
        ("trace_rate", 1 << 31, -(1 << 31), (1 << 31) - 1),
        ("model_load_retry_count", -(1 << 31) - 1, -(1 << 31), (1 << 31) - 1),
        ("seed", 1 << 63, -(1 << 63), (1 << 63) - 1),
        ("http_max_input_size", -1, 0, (1 << 63) - 1),
    ],
)
def test_a_number_that_the_flag_cannot_hold_is_refused(
    make: Callable[..., object], name: str, value: int, least: int, largest: int
) -> None:
    with pytest.raises(
        ValueError, match=f"^{name} is (None or )?a number from {least} to {largest}, not {value}$"
    ):
        make(**{name: value})


@pytest.mark.parametrize("name", ["http_port", "grpc_port", "metrics_port"])
@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(name: str, port: int) -> None:
    options: Any = {name: port}
    with pytest.raises(ValueError, match=f"^{name} is a number from 0 to 65535, not {port}$"):
        Emulator(**options)


@pytest.mark.parametrize("make", [Emulator, open_session], ids=["an emulator", "a session"])
@pytest.mark.parametrize("mode", ["none", "poll"])
def test_models_to_load_are_refused_in_a_mode_that_does_not_look_at_them(
    make: Callable[..., object], mode: str
) -> None:
    with pytest.raises(ValueError, match=f"^load_models needs model_control_mode='explicit', not '{mode}'$"):
        make(load_models=("simple",), model_control_mode=mode)


def test_a_version_that_takes_models_to_load_in_every_mode_does_so() -> None:
    Emulator(load_models=("simple",), triton_version="2.46.0")


def test_a_session_of_another_mode_leaves_the_emulators_models_to_load_alone() -> None:
    with (
        Emulator(allow_grpc=False, model_control_mode="explicit", load_models=("simple",)) as triton,
        triton.session(model_control_mode="none") as session,
    ):
        assert httpx.get(f"{session.http_url}/v2/models/trtllm/ready").status_code == 200


def test_two_listeners_at_one_port_are_refused_where_the_emulator_is_made() -> None:
    with pytest.raises(
        ValueError, match=r"^HTTP and metrics cannot listen at the same address and port 127\.0\.0\.1:8000$"
    ):
        Emulator(http_port=8000, metrics_port=8000)
    Emulator(http_port=8000, grpc_port=8000, allow_grpc=False)


@pytest.mark.parametrize("make", [Emulator, open_session], ids=["an emulator", "a session"])
@pytest.mark.parametrize("name", ["http_restricted_apis", "grpc_restricted_protocols"])
def test_an_api_in_two_groups_is_refused(make: Callable[..., object], name: str) -> None:
    groups = (
        RestrictedApis(frozenset({"health", "trace"}), "a", "1"),
        RestrictedApis(frozenset({"trace"}), "b", "2"),
    )
    with pytest.raises(ValueError, match=f"^{name} holds 'trace' in more than one group$"):
        make(**{name: groups})


@pytest.mark.parametrize("make", [Emulator, Emulator().session], ids=["an emulator", "a session"])
@pytest.mark.parametrize(
    "wrong, text",
    [
        (["a", "b"], "not ['a', 'b']; give several repositories as several arguments"),
        (("a",), "not ('a',); give several repositories as several arguments"),
        (3, "not 3"),
        (None, "not None"),
        (b"models", "not b'models'"),
    ],
)
def test_a_repository_that_is_no_path_is_refused(make: Callable[..., object], wrong: Any, text: str) -> None:
    with pytest.raises(TypeError) as refused:
        make(wrong)
    assert str(refused.value) == f"a model repository is a str or a Path, {text}"


def test_apis_that_are_restricted_are_a_set_of_names_that_exist() -> None:
    wrong: Any = "health"
    with pytest.raises(TypeError, match=r"^apis is a frozenset, for example .*, not 'health'$"):
        RestrictedApis(wrong, "key", "value")
    with pytest.raises(ValueError, match=r"^apis holds names of health, metadata, .*, not 'helth'$"):
        RestrictedApis(frozenset({"helth"}), "key", "value")


@pytest.mark.parametrize("flag", ["--http-max-input-size", "--max-request-size"])
def test_a_limit_of_less_than_no_bytes_is_refused_to_the_flag_too(flag: str) -> None:
    with pytest.raises(UsageError, match="a request body has at least 0 bytes, not -1; 0 is no limit"):
        parse([f"{flag}=-1"])


@pytest.mark.parametrize("threads", [0, -1])
def test_models_load_whatever_the_number_of_threads(threads: int) -> None:
    with Emulator(allow_grpc=False, model_load_thread_count=threads) as triton:
        assert httpx.get(f"{triton.http_url}/v2/health/ready").status_code == 200


def test_a_word_that_an_option_does_not_offer_is_refused_with_those_that_it_does() -> None:
    with pytest.raises(
        ValueError, match=r"^model_control_mode is one of 'none', 'poll', 'explicit', not 'all'$"
    ):
        open_session(model_control_mode="all")


def test_a_folder_of_settings_may_be_a_path_or_a_text() -> None:
    for value in ("emulator.yaml", Path("emulator.yaml")):
        Emulator(emulator_config=value)


def test_a_core_version_that_is_no_release_is_refused_where_the_emulator_is_made() -> None:
    unknown: Any = "2.40.0"
    with pytest.raises(ValueError, match=r"^triton_core_version is one of '2\.41\.0', .*, not '2\.40\.0'$"):
        Emulator(triton_core_version=unknown)
