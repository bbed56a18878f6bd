"""Which operation a path names."""

import pytest

from triton_emulator.protocol.routes import match


@pytest.mark.parametrize(
    ("path", "operation", "groups"),
    [
        ("/v2", "server_metadata", ()),
        ("/v2/health/live", "server_live", ()),
        ("/v2/models/m", "model_metadata", ("m", None)),
        ("/v2/models/m/versions/3/infer", "infer", ("m", "3")),
        ("/v2/models/m/versions/003", "model_metadata", ("m", "003")),
        ("/v2/models/stats", "statistics", (None, None)),
        ("/v2/models/a%20b/config", "model_config", ("a%20b", None)),
        ("/v2/repository/index", "repository_index", (None, None)),
        ("/v2/repository/r/index", "repository_index", ("r", None)),
        ("/v2/repository/models/m/load", "repository_load", (None, "m")),
        ("/v2/repository/r/models/m/unload", "repository_unload", ("r", "m")),
        ("/v2/systemsharedmemory/status", "system_shared_memory_status", (None,)),
        ("/v2/cudasharedmemory/region/x/register", "cuda_shared_memory_register", ("x",)),
        ("/v2/trace/setting", "trace_setting", (None, None)),
        ("/v2/models/m/trace/setting", "trace_setting", ("m", None)),
    ],
)
def test_a_path_names_an_operation(path: str, operation: str, groups: tuple[str | None, ...]) -> None:
    found = match(path)
    assert found is not None
    assert (operation, groups) == (found[0].operation, found[1])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2/",
        "//v2",
        "/v2/models",
        "/v2/models/",
        "/v2/models/m/",
        "/v2/models/m/versions/x",
        "/v2/models/m/versions/1/trace/setting",
        "/v2/models/m/unknown",
        "/v2/health",
        "/metrics",
        "/V2",
    ],
)
def test_any_other_path_is_not_found(path: str) -> None:
    assert match(path) is None
