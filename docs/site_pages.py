"""Gathers the pages of the documentation site: `python -m docs.site_pages FOLDER`.

The site shows the same files that a reader of the checkout sees. Four things are changed for the site:

- `README.md`, `CHANGELOG.md` and others stand outside `docs/`; they become pages.
- A link to a file of the checkout that is no page (a model, a test) becomes the file's path.
- `<!-- help: PROGRAM -->` becomes what the installed program prints for `--help`.
- A picture becomes part of its page, so that it takes the colours of the chosen scheme.
"""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Pages outside `docs/`, and their names on the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "FIDELITY.md": "fidelity.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\((images/[^)\s]+\.svg)\)")
HELP = re.compile(r"<!-- help: ([a-z-]+) -->")
FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)


def sources() -> dict[Path, str]:
    """Each document of the checkout and the name of its page."""
    pages = {ROOT / name: page for name, page in OUTSIDE.items() if (ROOT / name).exists()}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        pages[path] = path.relative_to(ROOT / "docs").as_posix()
    return pages


def page_of(source: Path, text: str, pages: dict[Path, str]) -> str:
    """Write one document as the site shows it."""
    parts = FENCE.split(text)
    # Every second part is a fenced block, which stays as it is.
    parts[::2] = [_prose(part, source, pages) for part in parts[::2]]
    page = "".join(parts)
    # A page with pictures gives them the width of the table of contents.
    return f"---\nhide:\n  - toc\n---\n\n{page}" if "picture-frame" in page else page


def _prose(text: str, source: Path, pages: dict[Path, str]) -> str:
    folder = Path(pages[source]).parent

    def link(found: re.Match[str]) -> str:
        target = (source.parent / found[2]).resolve()
        if target in pages:
            return f"[{found[1]}]({os.path.relpath(pages[target], folder)}{found[3] or ''})"
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if found[1].strip("`") in path else f"{found[1]} (`{path}`)"

    def picture(found: re.Match[str]) -> str:
        drawing = (source.parent / found[2]).read_text()
        return f'<div class="picture-frame" role="img" aria-label="{found[1]}">\n{drawing}</div>'

    text = PICTURE.sub(picture, text)
    text = LINK.sub(link, text)
    return HELP.sub(lambda found: "".join(help_of(found[1])), text)


def printed(*command: str) -> str:
    """Run a program of this environment; returns what it prints, for a terminal of 96 columns."""
    program = Path(sysconfig.get_path("scripts")) / command[0]
    environment = os.environ | {"COLUMNS": "96", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    run = subprocess.run([program, *command[1:]], env=environment, capture_output=True, text=True, check=True)
    return run.stdout


def help_of(program: str) -> Iterator[str]:
    """Show a program's `--help` as Markdown, and that of each of its commands."""
    text = printed(program, "--help")
    if "\n\t" in text:  # tritonserver's own form: sections of flags, each with its text below it
        yield from flag_tables(text)
        return
    yield f"```text\n{text.rstrip()}\n```\n"
    _, _, commands = text.partition("\nCommands:\n")
    for name in re.findall(r"^  ([a-z][a-z-]*)\b", commands, re.MULTILINE):
        yield f"\n### {program} {name}\n\n```text\n{printed(program, name, '--help').rstrip()}\n```\n"


def flag_tables(text: str) -> Iterator[str]:
    """Turn tritonserver's form of help into one table for each section."""
    usage, *sections = re.split(r"^(?=\S.*:$)", text, flags=re.MULTILINE)
    for section in [f"General:\n{usage.partition(chr(10))[2]}", *sections]:
        title, _, rest = section.partition(":\n")
        rows = re.findall(r"^  (-\S.*)\n((?:\t.*\n?)+)", rest, re.MULTILINE)
        if rows:
            yield f"\n### {title}\n\n| flag | meaning |\n|---|---|\n"
        for flag, meaning in rows:
            words = " ".join(meaning.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
            yield f"| `{flag}` | {words} |\n"


def gather(folder: Path) -> None:
    """Write all pages into a folder. An unchanged page keeps its file, so that a server reloads only what changed."""
    pages = sources()
    written = set()
    for source, page in pages.items():
        written.add(_write(folder / page, page_of(source, source.read_text(), pages)))
    for asset in sorted((ROOT / "docs" / "assets").rglob("*")):
        if asset.is_file():
            written.add(_write(folder / asset.relative_to(ROOT / "docs"), asset.read_text()))
    for old in folder.rglob("*"):
        if old.is_file() and old not in written:
            old.unlink()


def _write(path: Path, text: str) -> Path:
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path


if __name__ == "__main__":
    gather(Path(sys.argv[1]).resolve())
