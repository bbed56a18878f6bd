"""Which operation a path names."""

import pytest

from triton_emulator.protocol.routes import Captures, match


@pytest.mark.parametrize(
    ("path", "operation", "captures"),
    [
        ("/v2", "server_metadata", Captures()),
        ("/v2/health/live", "server_live", Captures()),
        ("/v2/models/m", "model_metadata", Captures("m")),
        ("/v2/models/m/versions/3/infer", "infer", Captures("m", "3")),
        ("/v2/models/m/versions/003", "model_metadata", Captures("m", "003")),
        ("/v2/models/stats", "model_statistics", Captures()),
        ("/v2/models/a%20b/config", "model_config", Captures("a%20b")),
        ("/v2/repository/index", "repository_index", Captures()),
        ("/v2/repository/r/index", "repository_index", Captures(repository="r")),
        ("/v2/repository/models/m/load", "repository_load", Captures("m")),
        ("/v2/repository/r/models/m/unload", "repository_unload", Captures("m", repository="r")),
        ("/v2/systemsharedmemory/status", "system_shared_memory_status", Captures()),
        ("/v2/cudasharedmemory/region/x/register", "cuda_shared_memory_register", Captures(region="x")),
        ("/v2/trace/setting", "trace_setting", Captures()),
        ("/v2/models/m/trace/setting", "trace_setting", Captures("m")),
    ],
)
def test_a_path_names_an_operation(path: str, operation: str, captures: Captures) -> None:
    found = match(path)
    assert found is not None
    assert (operation, captures) == (found[0].operation, found[1])


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
