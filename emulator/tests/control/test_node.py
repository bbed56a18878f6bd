"""The control API as a test in JavaScript uses it: the example of the documents, run by Node."""

import re
from pathlib import Path

from emulator.tests.control.node import assert_passes
from triton_emulator import Emulator

PAGE = Path(__file__).parents[3] / "docs" / "control.md"


def test_the_test_in_javascript_of_the_documents_passes(tmp_path: Path) -> None:
    found = re.search(
        r'^```javascript title="([^"\n]+)"\n(.*?)^```$', PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    file = tmp_path / found[1]
    file.write_text(found[2])
    with Emulator(model_control_mode="explicit", control=True) as emulator:
        assert_passes(file, 3, CONTROL=emulator.control_url)
