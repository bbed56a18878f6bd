"""The flags that contradict `--workers`: what is right in one process only.

`session.one_process` has the models, the sections of `emulator.yaml` and the requests.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from triton_emulator.settings import Settings


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A flag that is refused: whether it is given, as it is written, why, and what to do in its place."""

    given: Callable[[Settings], bool]
    flag: str
    cause: str
    fix: str = ""


_REFUSALS = (
    _Refusal(
        lambda settings: settings.has_upstream,
        "--upstream",
        "each worker would keep a journal and connections of its own, and only models of --model-repository are served",
    ),
    _Refusal(
        lambda settings: bool(settings.replay),
        "--replay",
        "each worker would count repeated requests for itself",
    ),
    _Refusal(
        lambda settings: bool(settings.faults),
        "--fault",
        "each worker would count for itself how often a plan has fired",
    ),
    _Refusal(
        lambda settings: settings.control_port is not None,
        "--control-port",
        "sessions, plans, stubs and the journal would be those of one worker",
    ),
    _Refusal(
        lambda settings: bool(settings.cache_config),
        "--cache-config",
        "each worker would have a cache of its own, so a request that another one has answered would be a miss",
    ),
    _Refusal(
        lambda settings: settings.clock == "virtual",
        "--clock=virtual",
        "each worker would have a time of its own",
        "take a number, such as --clock=0.01",
    ),
    _Refusal(
        lambda settings: settings.model_control_mode == "poll",
        "--model-control-mode=poll",
        "each worker would find a change of the repository at another time",
        "start the server again after a change",
    ),
    _Refusal(
        lambda settings: bool(settings.allow_client_shm),
        "--allow-client-shm",
        "a region would be registered in one worker",
    ),
    _Refusal(
        lambda settings: settings.trace_count > 0 and any(level != "OFF" for level in settings.trace_level),
        "--trace-config count",
        "each worker would count traces for itself",
    ),
)


def check_workers(settings: Settings) -> None:
    """Raise ValueError for flags that several workers contradict, and where there cannot be several."""
    if settings.workers == 1:
        return
    given = f"--workers={settings.workers}"
    if sys.platform != "linux":  # elsewhere SO_REUSEPORT does not spread connections
        raise ValueError(f"{given} needs Linux, this is {sys.platform}; use --workers=1")
    for refusal in _REFUSALS:
        if refusal.given(settings):
            fix = refusal.fix or f"leave {refusal.flag} out"
            raise ValueError(f"{given} and {refusal.flag}: {refusal.cause}; {fix}, or use --workers=1")
