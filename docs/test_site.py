"""The pages of the site: how a document is changed for it, and pictures that are equal to their tables."""

import pytest

from docs.pictures import IMAGES, drawings
from docs.site_pages import ROOT, flag_tables, page_of, sources

PAGES = sources()


@pytest.mark.parametrize("name", drawings())
def test_a_picture_is_equal_to_its_table(name: str) -> None:
    assert drawings()[name] == (IMAGES / name).read_text(), "run: python -m docs.pictures"


def test_every_document_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [] == [page for page in PAGES.values() if f" {page}\n" not in navigation]


@pytest.mark.parametrize(
    "source,link,shown",
    [
        pytest.param("README.md", "[guide](docs/sdk.md)", "[guide](sdk.md)", id="from the root to a page"),
        pytest.param(
            "docs/sdk.md", "[x](../CHANGELOG.md)", "[x](changelog.md)", id="to a document of the root"
        ),
        pytest.param("docs/sdk.md", "[x](proxy.md#errors)", "[x](proxy.md#errors)", id="to a part of a page"),
        pytest.param("docs/sdk.md", "[a test](../conftest.py)", "a test (`conftest.py`)", id="to a file"),
        pytest.param(
            "docs/sdk.md", "[conftest.py](../conftest.py)", "`conftest.py`", id="to a file by its name"
        ),
        pytest.param("docs/sdk.md", "[x](https://semver.org/)", "[x](https://semver.org/)", id="elsewhere"),
        pytest.param("docs/sdk.md", "```text\n[x](../a)\n```", "```text\n[x](../a)\n```", id="in an example"),
    ],
)
def test_a_link_has_the_same_target_on_the_site(source: str, link: str, shown: str) -> None:
    assert shown == page_of(ROOT / source, link, PAGES)


def test_tritonservers_form_of_help_becomes_tables() -> None:
    usage = "Usage: x [options]\n  --help\n\tPrint this text.\n\nServer:\n  --id <string>\n\tIts\n\tname.\n"
    assert (
        "\n### General\n\n| flag | meaning |\n|---|---|\n| `--help` | Print this text. |\n"
        "\n### Server\n\n| flag | meaning |\n|---|---|\n| `--id <string>` | Its name. |\n"
    ) == "".join(flag_tables(usage))
