"""The conditions of a release."""

import pytest

from ci.release_is_ready import ROOT, missing, section

READY = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-11-29\n\n### Added\n\n- A thing.\n"


def test_a_clean_tree_with_a_dated_section_is_ready() -> None:
    assert [] == missing("1.2.0", READY, tags=["v1.1.0"], changed=[])


@pytest.mark.parametrize(
    "version,changelog,tags,changed,fault",
    [
        pytest.param(
            "1.2.0", READY, [], [" M README.md"], "not committed:  M README.md", id="a file is not committed"
        ),
        pytest.param(
            "1.2.0",
            READY,
            ["v1.2.0"],
            [],
            "the tag v1.2.0 exists already: raise the version in pyproject.toml",
            id="the version is released",
        ),
        pytest.param(
            "1.3.0", READY, [], [], "CHANGELOG.md has no '## [1.3.0] - YYYY-MM-DD'", id="no section"
        ),
        pytest.param(
            "1.2.0",
            READY.replace(" - 2026-11-29", ""),
            [],
            [],
            "CHANGELOG.md has no date for 1.2.0",
            id="no date",
        ),
        pytest.param(
            "1.2.0",
            READY.replace("## [Unreleased]\n", "## [Unreleased]\n\n- More.\n"),
            [],
            [],
            "CHANGELOG.md lists changes under Unreleased: move them to 1.2.0",
            id="a change is unreleased",
        ),
        pytest.param(
            "1.2.0",
            READY.replace("## [Unreleased]\n\n", ""),
            [],
            [],
            "CHANGELOG.md does not begin with '## [Unreleased]'",
            id="there is no place for later changes",
        ),
        pytest.param(
            "1.2.0",
            READY.partition("### Added")[0],
            [],
            [],
            "CHANGELOG.md says nothing about 1.2.0",
            id="an empty section",
        ),
    ],
)
def test_a_release_is_refused_with_its_reason(
    version: str, changelog: str, tags: list[str], changed: list[str], fault: str
) -> None:
    assert [fault] == missing(version, changelog, tags, changed)


def test_this_changelog_has_the_form_that_a_release_needs() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert section(text, "0.1.0").startswith("The first version")
    assert [] == [fault for fault in missing("0.1.0", text, [], []) if "lists changes under" not in fault]
