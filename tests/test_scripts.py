"""The scripts find their checkout, wherever they are called from and by whatever name."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARGUMENTS = {"bench": ["lab"]}
"""What a script wants before it sets anything up."""
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix != ".sh")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the scripts, of which setting up tells only where the checkout is."""
    made = tmp_path / "check out"
    shutil.copytree(ROOT / "scripts", made / "scripts")
    with (made / "scripts" / "setup.sh").open("a") as setup:
        setup.write("\nsetup() { printf '%s\\n' \"$root\"; exit 0; }\n")
    return made


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_is_called_by_a_symlink_finds_its_checkout(checkout, tmp_path, name):
    elsewhere = tmp_path / "bin"
    elsewhere.mkdir()
    (elsewhere / "middle").symlink_to(checkout / "scripts" / name)
    (elsewhere / name).symlink_to("middle")
    for called in (checkout / "scripts" / name, elsewhere / name):
        done = subprocess.run(
            [str(called), *ARGUMENTS.get(name, [])], cwd="/", capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{checkout}\n", "")
