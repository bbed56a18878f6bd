"""What is printed when a server has loaded its models: tables of options and recordings, and who answers."""

from collections.abc import Iterator

from triton_emulator.harness.cassettes.player import Player
from triton_emulator.protocol.extensions import EXTENSIONS
from triton_emulator.repository.console_table import render_table
from triton_emulator.settings import Settings


def options_table(settings: Settings) -> str:
    """The table of options; it begins and ends with a line feed."""
    rows = [*_elsewhere(settings), *(_of_models(settings) if settings.loads_models else ())]
    rows.append(("exit_timeout", str(settings.exit_timeout_secs)))
    if settings.loads_models:
        rows.append(("cache_enabled", _number(bool(settings.cache_config))))
    return render_table(("Option", "Value"), rows)


def _of_models(settings: Settings) -> list[tuple[str, str]]:
    repositories = settings.model_repositories or ("(built-in)",)
    if settings.shadow:
        repositories = (str(settings.shadow),)
    return [
        ("server_id", settings.id),
        ("server_version", settings.core_version),
        ("server_extensions", " ".join(EXTENSIONS)),
        *((f"model_repository_path[{index}]", path) for index, path in enumerate(repositories)),
        ("model_control_mode", f"MODE_{settings.model_control_mode.upper()}"),
        *((f"startup_models_{index}", name) for index, name in enumerate(settings.load_models)),
        ("strict_model_config", _number(settings.disable_auto_complete_config)),
        ("model_config_name", settings.model_config_name),
        ("rate_limit", settings.rate_limit.upper()),
        ("strict_readiness", _number(settings.strict_readiness)),
    ]


def _elsewhere(settings: Settings) -> Iterator[tuple[str, str]]:
    """What says that a real server or a cassette answers."""
    for name in ("upstream", "upstream_grpc", "upstream_metrics", "record", "replay", "shadow"):
        if value := getattr(settings, name):
            yield name, str(value)
    if settings.replay:
        yield "replay_timing", str(settings.replay_timing)
        yield "on_miss", settings.on_miss


def recordings_table(player: Player) -> str:
    """How many recordings a cassette has of each operation and model; it begins and ends with a line feed."""
    rows = [
        (protocol, operation or "(another path)", model, str(number))
        for (protocol, operation, model), number in player.contents()
    ]
    return render_table(("Protocol", "Operation", "Model", "Recordings"), rows)


def answers(settings: Settings, player: Player | None) -> str:
    """One line about who answers requests, where that is not the models alone; "" where it is."""
    server = " and ".join(filter(None, (settings.upstream, settings.upstream_grpc)))
    if player is not None:
        miss = {
            "error": "a request that none of them answers is refused",
            "emulate": "the models answer a request that none of them answers",
            "upstream": f"a request that none of them answers passes to {server}",
        }[settings.on_miss]
        recordings = "1 recording" if len(player) == 1 else f"{len(player)} recordings"
        said = f"replays {recordings} of {player.folder}; {miss} (--on-miss={settings.on_miss})"
    elif settings.has_upstream:
        said = f"stands in front of {server}, which answers every request"
        said += "; the models are compared with it" if settings.shadow else "; no model is loaded"
    else:
        return ""
    return f"{said}; what {server} answers is recorded into {settings.record}" if settings.record else said


def simulation(settings: Settings) -> str:
    """One line about what the emulator pretends to have: GPUs, and backends that cannot run here."""
    count = settings.simulated_gpus
    if count is None:
        gpus = "each model has the GPUs that its config asks for, all simulated"
    elif count:
        gpus = f"every model sees {count} simulated GPUs"
    else:
        gpus = "there is no GPU, so KIND_GPU is refused"
    backends = {
        "all": "a stand-in answers for every backend that cannot run here",
        "configured": "a backend that cannot run here is refused, unless emulator.yaml gives the model a behaviour",
    }
    flag = "auto" if count is None else str(count)
    return (
        f"{gpus} (--simulated-gpus={flag}); {backends[settings.stand_ins]} (--stand-ins={settings.stand_ins})"
    )


def _number(value: bool) -> str:
    return str(int(value))
