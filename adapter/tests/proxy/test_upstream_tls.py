"""A proxy whose Triton is reached over TLS: the TLS settings hold for all models or for one."""

import pytest

from adapter.tests.gateway import AUTHORITY, CLIENT, TlsGateway
from adapter.tests.proxy.serving import chat, entry, get, serve
from triton_adapter.proxy import ConfigError, read_config


def test_tls_is_set_for_every_model_or_for_one(triton: str) -> None:
    with (
        TlsGateway(triton, ask_client=True) as gateway,
        serve(
            entry("flat", gateway.url, "flat"),
            entry("wary", gateway.url, "flat", ssl_verify=True),
            litellm_settings={"ssl_verify": AUTHORITY, "ssl_certificate": CLIENT},
            router_settings={"num_retries": 0},
        ) as proxy,
    ):
        assert chat(proxy, "flat", "SAY hi").json()["choices"][0]["message"]["content"] == "hi"
        refused = chat(proxy, "wary", "SAY hi")
        health = get(proxy, "/health").json()
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_certificate")
    assert [one["model_name"] for one in health["healthy_endpoints"]] == ["flat"]


def test_a_file_that_cannot_be_used_is_a_mistake_at_its_line() -> None:
    text = (
        "model_list:\n"
        "  - model_name: m\n"
        "    litellm_params:\n"
        "      model: triton/m\n"
        "      api_base: https://triton:8000\n"
        "      ssl_verify: /no/such.pem\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_config(text, {})
    assert str(caught.value) == (
        "config.yaml:6: model_list[0].litellm_params.ssl_verify: ssl_verify must be true, false or the path of a PEM "
        "file with certificates"
    )
