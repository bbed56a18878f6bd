"""Write the blocking functions of the SDK from those that await, so that the two cannot differ.

python ci/unasync.py          writes the file
python ci/unasync.py --check  exits with 1 if the file is out of date
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SDK = ROOT / "adapter" / "triton_adapter" / "sdk"
SOURCE, WRITTEN = SDK / "async_functions.py", SDK / "functions.py"
TITLE = '''\
"""The functions that block, with LiteLLM's call shape.

`ci/unasync.py` wrote this from `async_functions.py`: change that file, then run the script.
"""
'''
# Pattern -> replacement, applied in this order.
RULES = (
    (r'\A""".*?"""\n', TITLE),
    (r"\basync def a", "def "),
    (r"\bawait ", ""),
    (r"\ba((?:text_)?completion)\b", r"\1"),
    (r"\bAsyncStream\b", "Stream"),
    (r"\bshared_async_client\b", "shared_client"),
)


def blocking(text: str) -> str:
    """Return the blocking form of a module, formatted."""
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    command = [str(ROOT / ".venv/bin/ruff"), "format", "--config", str(ROOT / "pyproject.toml"), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Write or check the file; return the exit code."""
    text = blocking(SOURCE.read_text("utf-8"))
    if "--check" not in sys.argv[1:]:
        WRITTEN.write_text(text, "utf-8")
    elif WRITTEN.read_text("utf-8") != text:
        print(f"{WRITTEN.relative_to(ROOT)} is out of date: run python ci/unasync.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
