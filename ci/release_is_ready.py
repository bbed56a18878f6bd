"""Check that the checkout can be released as the version that pyproject.toml names; print what is missing."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADING = re.compile(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


def missing(version: str, changelog: str, tags: list[str], changed: list[str]) -> list[str]:
    """Return the reasons against a release; there are none if it is ready.

    `changelog` is the text of CHANGELOG.md, `tags` are git's, `changed` the lines of `git status --porcelain`.
    """
    faults = [f"not committed: {line}" for line in changed]
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        faults.append(f"the version in pyproject.toml is not MAJOR.MINOR.PATCH: {version}")
    if f"v{version}" in tags:
        faults.append(f"the tag v{version} exists already: raise the version in pyproject.toml")
    headings = HEADING.findall(changelog)
    if not headings or headings[0] != ("Unreleased", ""):
        faults.append("CHANGELOG.md does not begin with '## [Unreleased]'")
    dates = dict(headings)
    if version not in dates:
        faults.append(f"CHANGELOG.md has no '## [{version}] - YYYY-MM-DD'")
    elif not dates[version]:
        faults.append(f"CHANGELOG.md has no date for {version}")
    elif section(changelog, "Unreleased"):
        faults.append(f"CHANGELOG.md lists changes under Unreleased: move them to {version}")
    if version in dates and not section(changelog, version):
        faults.append(f"CHANGELOG.md says nothing about {version}")
    return faults


def section(changelog: str, name: str) -> str:
    """Return the text below a version's heading."""
    parts = HEADING.split(changelog)
    return {parts[at]: parts[at + 2].strip() for at in range(1, len(parts), 3)}.get(name, "")


def git(*arguments: str) -> list[str]:
    """Run git here; returns the lines that it prints."""
    run = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout.splitlines()


def main() -> int:
    """Print the version, or what is missing; the exit code is 1 then."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    faults = missing(
        version, (ROOT / "CHANGELOG.md").read_text(), git("tag", "--list"), git("status", "--porcelain")
    )
    for fault in faults:
        print(f"ci/release: {fault}", file=sys.stderr)
    if not faults:
        print(version)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
