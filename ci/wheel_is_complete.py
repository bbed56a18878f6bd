"""Check that a wheel holds what git tracks of the three packages, code and data, and nothing else, and is small."""

import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGES = {
    "triton_emulator": "emulator",
    "triton_adapter": "adapter",
    "triton_contract": "contract_tests",
}
#: bytes of all files, unpacked; a recording once took 117 MB of every installation
LIMIT = 15_000_000


def tracked_files() -> set[str]:
    """Paths as the wheel names them: relative to each package's parent folder."""
    names: set[str] = set()
    for package, folder in PACKAGES.items():
        listing = subprocess.run(
            ["git", "ls-files", "-z", package], cwd=folder, check=True, capture_output=True
        )
        names.update(name for name in listing.stdout.decode().split("\0") if name)
    return names


def main(wheel: Path) -> int:
    """Print what is missing or too much; the exit code is 1 if anything is."""
    with zipfile.ZipFile(wheel) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        packed = {name for name in archive.namelist() if name.split("/")[0] in PACKAGES and name[-1] != "/"}
    tracked = tracked_files()
    for name in sorted(tracked - packed):
        print(f"{wheel.name}: {name} is missing")
    for name in sorted(packed - tracked):
        print(f"{wheel.name}: {name} is not tracked by git")
    print(f"{wheel.name}: {len(packed)} files of {len(PACKAGES)} packages, {size:,} bytes unpacked")
    if size > LIMIT:
        print(f"{wheel.name}: more than {LIMIT:,} bytes")
    return int(packed != tracked or size > LIMIT)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
