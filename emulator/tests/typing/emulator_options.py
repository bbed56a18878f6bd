"""Type-checked by `ci/check` and never run: the types of the options of an emulator and of a session.

A line with `type: ignore` holds a mistake that has to be reported: an ignore that is not needed is an error itself.
"""

from pathlib import Path
from typing import assert_type

from triton_emulator import Emulator, EmulatorOptions, RestrictedApis, Session, SessionOptions


def right_options_are_accepted() -> None:
    Emulator()
    Emulator("models", Path("more"))
    Emulator("models", http_port=8000, allow_grpc=False, model_control_mode="explicit", load_models=("llm",))
    Emulator(emulator_config="emulator.yaml")
    Emulator(emulator_config=Path("emulator.yaml"))
    Emulator(http_restricted_apis=(RestrictedApis(frozenset({"inference"}), "key", "secret"),))
    Emulator().session("models", exit_on_error=False, seed=3)


def options_may_be_collected_first() -> None:
    shared: SessionOptions = {"seed": 3}
    Emulator(**shared)
    Emulator().session(**shared)
    options: EmulatorOptions = {"seed": 3, "http_port": 8000}
    Emulator(**options)


def wrong_options_are_reported() -> None:
    Emulator(load_model=("llm",))  # type: ignore[call-arg]
    Emulator(http_port="8000")  # type: ignore[arg-type]
    Emulator(model_control_mode="some")  # type: ignore[arg-type]
    Emulator(load_models="llm")  # type: ignore[arg-type]
    Emulator(model_repositories=("models",))  # type: ignore[call-arg]
    Emulator(8000)  # type: ignore[arg-type]


def options_that_all_sessions_share_are_reported() -> None:
    Emulator().session(http_port=8000)  # type: ignore[call-arg]
    Emulator().session(exit_timeout_secs=1)  # type: ignore[call-arg]
    Emulator().session(sed=3)  # type: ignore[call-arg]
    options: EmulatorOptions = {"http_port": 8000}
    Emulator().session(**options)  # type: ignore[misc]


def results_have_their_types() -> None:
    with Emulator() as triton, triton.session() as session:
        assert_type(triton, Emulator)
        assert_type(session, Session)
        assert_type((triton.http_url, triton.grpc_url, triton.metrics_url), tuple[str, str, str])
        assert_type((session.http_url, session.grpc_url, session.metrics_url), tuple[str, str, str])
        assert_type(session.grpc_headers, dict[str, str])
