"""The table of options that tritonserver prints when its models are loaded, and a line about what is simulated."""

from triton_emulator.protocol.extensions import EXTENSIONS
from triton_emulator.repository.console_table import render_table
from triton_emulator.settings import Settings


def options_table(settings: Settings) -> str:
    """The table of options; it begins and ends with a line feed."""
    repositories = settings.model_repositories or ("(built-in)",)
    rows = [
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
        ("exit_timeout", str(settings.exit_timeout_secs)),
        ("cache_enabled", _number(bool(settings.cache_config))),
    ]
    return render_table(("Option", "Value"), rows)


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
