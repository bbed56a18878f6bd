"""Write what is made from the table of changes: `changes.json` for the contract, and `docs/upgrades.md`.

ci/changes.py             write both
ci/changes.py --check     fail if they are not what would be written
"""

import json
import sys
from pathlib import Path

from triton_contract import recordings
from triton_contract.cases.load import load_cases
from triton_contract.upgrades.changes import FILE, load_history
from triton_contract.upgrades.page import render_page
from triton_emulator.protocol.personality import CHANGES, PROVED, RELEASES

PAGE = Path(__file__).parents[1] / "docs" / "upgrades.md"


def data() -> str:
    """The table as JSON."""
    rows = [{"field": row.field, "first": row.first, "what": row.what, "proof": row.proof} for row in CHANGES]
    node = {"releases": RELEASES, "proved": PROVED, "changes": rows}
    return json.dumps(node, indent=1, ensure_ascii=False) + "\n"


def page() -> str:
    """The page, from the data that was written."""
    cases = load_cases()
    history = load_history()
    return render_page(
        history, cases, {version: recordings.read(version, cases) for version in history.proved}
    )


def main() -> int:
    if "--check" not in sys.argv[1:]:
        FILE.write_text(data(), encoding="utf-8")
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    stale = [
        path.name
        for path, text in ((FILE, data), (PAGE, page))
        if not path.is_file() or path.read_text(encoding="utf-8") != text()
    ]
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run ci/changes.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
