"""The text that --help prints, in the form of tritonserver's."""

import textwrap

from triton_emulator.cli.flag import Flag, Use
from triton_emulator.cli.flags import groups
from triton_emulator.protocol.personality import Personality

_EXAMPLES = """Examples:
  triton-emulator
	The built-in models, on http://127.0.0.1:8000.
  triton-emulator --model-repository=models --http-port=0
	Your own models, on a free port that is printed.
  triton-emulator --model-repository=models --model-control-mode=explicit --load-model=llm
	One model of the repository; clients may load the others.
"""


def usage(rules: Personality) -> str:
    """The flags of a version by group: a line with name and argument, then indented lines that say what a flag does."""
    blocks = ["Usage: triton-emulator [options]\n"]
    for group in groups(rules):
        title = f"{group.title}:\n" if group.title else ""
        blocks.append(title + "".join(_entry(flag) for flag in group.flags) + "\n")
    return "".join(blocks) + _EXAMPLES


def _entry(flag: Flag) -> str:
    head = f"  --{flag.name} {flag.hint}".rstrip()
    text = f"{flag.help} Has no effect here.".lstrip() if flag.use is Use.IGNORED else flag.help
    lines = textwrap.wrap(text, width=72, break_on_hyphens=False, break_long_words=False)
    return "\n\t".join((head, *lines)) + "\n"
