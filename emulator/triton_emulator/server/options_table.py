"""The table of options that tritonserver prints when its models are loaded."""

from triton_emulator.protocol.extensions import EXTENSIONS
from triton_emulator.repository.console_table import render_table
from triton_emulator.settings import Settings


def options_table(settings: Settings) -> str:
    """The table of options; it begins and ends with a line feed."""
    repositories = settings.model_repositories or ("(built-in)",)
    rows = [
        ("server_id", settings.id),
        ("server_version", settings.triton_version),
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


def _number(value: bool) -> str:
    return str(int(value))
