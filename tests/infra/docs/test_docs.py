"""What the documents name is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import ROOT

DOCS = [ROOT / "README.md", *sorted((ROOT / "infra" / "docs").glob("*.md"))]
TEST = re.compile(r"`(tests/[\w/.]+)?(?:::(\w+))?`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


def named_tests(text: str) -> Iterator[tuple[str, str]]:
    """File and test of each ``tests/x.py::test_y``; a bare ``::test_z`` is of the file before it."""
    file = ""
    for found in TEST.finditer(text):
        file = found[1] or file
        if found[1] or found[2]:
            yield file, found[2] or ""


def test_every_test_that_the_table_of_faults_names_exists() -> None:
    named = list(named_tests((ROOT / "infra" / "docs" / "faults.md").read_text()))
    assert len(named) > 80
    for file, test in named:
        path = ROOT / file
        assert path.exists(), file
        assert not test or f"def {test}(" in path.read_text(), f"{file}::{test}"


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        assert (document.parent / link).exists(), link
