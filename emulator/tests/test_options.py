"""The options of `Emulator` and of a session: their types are those of Settings, and a wrong name is refused."""

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from triton_emulator import Emulator, EmulatorOptions, SessionOptions, Settings
from triton_emulator.cli.command_line import UsageError, parse

#: Fields of Settings that are no keyword: folders are positional, and only a command line has flags without effect.
NO_OPTIONS = {"model_repositories", "ignored_flags"}
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
    listeners = ("allow_", "reuse_", "http_", "grpc_", "metrics_")
    assert {name for name in shared if not name.startswith(listeners)} == {"exit_timeout_secs"}


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_the_words_that_an_option_offers_are_those_that_its_flag_takes(name: str) -> None:
    flag = "--trace-config=mode" if name == "trace_mode" else "--" + name.replace("_", "-")
    for word in CHOICES[name]:
        assert getattr(parse([f"{flag}={word}"]).settings, name) == word
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
