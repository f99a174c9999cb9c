"""Every command of the README and of the docs works as printed, in order, as a newcomer would type them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from shared.settings import ROOT
from tests.fleet.conftest import Client

#: The README comes first: what it uploads and generates is there for the others.
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "infra" / "docs").glob("*.md"))]
#: A block of code; commands that are not for this test say why in a comment before it.
BLOCK = re.compile(r"(?:<!-- not run: (?P<why>.*?) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)
COMMANDS = {"sh": ["bash", "-euo", "pipefail"], "python": [sys.executable]}
#: Blocks that are no commands: a test of the docs reads the catalogs, the others are for people.
OTHER_KINDS = {"toml", "nginx", "text"}
#: An id in the answer to a submission stands for ``ID`` in what follows.
ID = re.compile(r'"id": ?"([0-9a-f]+)"')


class Block(NamedTuple):
    """Commands of one kind: ``sh`` or ``python``."""

    document: str
    kind: str
    text: str


def runnable_blocks() -> list[Block]:
    found = [(path.name, block) for path in DOCUMENTS for block in BLOCK.finditer(path.read_text())]
    assert {block["kind"] for _, block in found} <= COMMANDS.keys() | OTHER_KINDS
    return [
        Block(name, block["kind"], block["text"])
        for name, block in found
        if block["kind"] in COMMANDS and not block["why"]
    ]


@pytest.fixture
def folder(fleet: Client, tmp_path: Path) -> Path:
    """A checkout whose fleet is the one that runs."""
    for name in ("infra", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".run").symlink_to(fleet.stack.home)
    return tmp_path


@pytest.mark.timeout(600)
def test_every_documented_command_works_as_printed(fleet: Client, folder: Path) -> None:
    blocks = runnable_blocks()
    assert {block.document for block in blocks} == {"README.md", "api.md", "operations.md"}
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SWIFT_", "AWS_"))}
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "PYTHONPATH": str(ROOT)}
    env |= {name: value for name, value in fleet.stack.env.items() if name.startswith("AWS_")}
    job_id = ""
    for block in blocks:
        text = at_our_ports(block.text, fleet).replace("/ID/", f"/{job_id}/")
        ended = subprocess.run(
            [*COMMANDS[block.kind], "-c", text],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, f"{block.document}: {text}\n{ended.stdout}\n{ended.stderr}"
        assert '"status":4' not in ended.stdout, ended.stdout  # curl calls a refusal a success
        found = ID.findall(ended.stdout)
        job_id = found[-1] if found else job_id
    assert {path.name for path in folder.glob("*.png")} == {"apple.png", "car.png", "cat.png"}


def at_our_ports(text: str, fleet: Client) -> str:
    """The commands for the fleet of the tests, which runs on other ports than a newcomer's."""
    env = fleet.stack.env
    usual_ports = {8080: env["API_URL"], 5555: env["FLOWER_URL"], 8333: env["SWIFT_S3_ENDPOINT_URL"]}
    for usual, url in usual_ports.items():
        text = re.sub(rf"(localhost|127\.0\.0\.1):{usual}\b", rf"\1:{url.rsplit(':', 1)[1]}", text)
    return text
