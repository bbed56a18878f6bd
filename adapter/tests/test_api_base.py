"""Every form of `api_base`, and the addresses that it stands for."""

import pytest

from triton_adapter.errors import BadRequestError, MissingParameterError, NotFoundError
from triton_adapter.target import Target
from triton_adapter.triton.api_base import ApiBase, parse_api_base


@pytest.mark.parametrize(
    "api_base, read",
    [
        ("http://h:8000", ApiBase("http://h:8000")),
        ("h:8000", ApiBase("http://h:8000")),
        (" http://h:8000/ ", ApiBase("http://h:8000")),
        ("https://h/v2", ApiBase("https://h")),
        ("http://h/generate", ApiBase("http://h", operation="generate", bare="http://h/generate")),
        ("http://h/generate_stream", ApiBase("http://h", operation="generate", bare="http://h/generate")),
        (
            "http://h/triton/infer/",
            ApiBase("http://h/triton", operation="infer", bare="http://h/triton/infer"),
        ),
        (
            "http://h/embeddings?k=1",
            ApiBase("http://h", "?k=1", "embeddings", bare="http://h/embeddings?k=1"),
        ),
        ("http://h/p/v2/models/m/generate", ApiBase("http://h/p", operation="generate", model="m")),
        (
            "http://h/v2/models/m/versions/3/infer",
            ApiBase("http://h", operation="infer", model="m", version="3"),
        ),
        ("http://h/v2/models/m", ApiBase("http://h", model="m")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_api_base_says_where_the_model_is(api_base: str, read: ApiBase) -> None:
    assert parse_api_base(api_base) == read


@pytest.mark.parametrize(
    "api_base",
    ["ftp://h", "http://", "http://h:x/generate", 'http://h/generate"', "http://a b", "https//h", "HTTP:/h"],
)
def test_an_api_base_that_is_no_url_is_refused(api_base: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_api_base(api_base)
    assert caught.value.param == "api_base"


def test_a_user_in_an_api_base_is_refused_since_it_would_not_be_sent() -> None:
    with pytest.raises(BadRequestError, match="extra_headers") as caught:
        parse_api_base("http://user:secret@h/generate")
    assert caught.value.param == "api_base"
    assert "secret" not in str(caught.value)


def test_no_api_base_is_a_missing_parameter() -> None:
    with pytest.raises(MissingParameterError):
        parse_api_base(" ")


def test_the_urls_of_a_target_keep_prefix_version_and_query() -> None:
    target = Target.of("triton/m", "http://h/p/v2/models/m/versions/3/infer?key=1")
    assert target.url("generate_stream") == "http://h/p/v2/models/m/versions/3/generate_stream?key=1"


def test_the_reprs_of_a_target_and_of_its_requests_hide_the_key() -> None:
    target = Target.of("triton/m", "http://h:8000", headers={"Authorization": "Bearer secret"})
    request = target.post(target.url("infer"), b"{}", {})
    assert request.headers["Authorization"] == "Bearer secret"
    assert "secret" not in f"{target!r} {request!r}"


@pytest.mark.parametrize("model", ["triton/", "triton/a/b", 'triton/<your-triton-model>"'])
def test_a_name_that_no_model_can_have_is_not_found(model: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        Target.of(model, "http://h:8000")
    assert (caught.value.status_code, caught.value.param) == (404, "model")
