"""What README, docs and decisions say of the repository is so: files, tests, links, settings, catalogs."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.catalog.entries import Catalog
from shared.setting_checks.errors import PREFIX, SUCCESSORS
from shared.settings import ROOT, Settings

DOCS = ROOT / "infra" / "docs"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "infra" / "emoji" / "README.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((ROOT / "infra" / "adr").glob("*.md")),
]
CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
#: A path of the repository as code, and a test in it.
PATH = re.compile(r"`((?:api|workers|shared|infra|tests)/[\w./-]*)(?:::(\w+))?`|`::(\w+)`")
SETTING = re.compile(rf"^\| `{PREFIX}(\w+)` \| (?:`([^`]*)`)? ?\| (.*) \|$", re.MULTILINE)
#: Prose is wrapped at 120; a name that grew may reach beyond.
PROSE_WIDTH, README_LINES = 130, 200
METRIC = re.compile(r"`(swift_\w+)`")
#: Decisions name files as they were when they were decided.
PRESENT = [document for document in DOCUMENTS if document.parent.name != "adr"]

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


@each_document
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        path = document.parent / file if file else document
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path), link


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives a document's headings."""
    headings = HEADING.findall(CODE_BLOCK.sub("", document.read_text()))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_every_file_and_test_that_is_named_exists(document: Path) -> None:
    for path, test in named_files(document.read_text()):
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def test_the_layout_in_the_readme_names_files_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    layout = readme[readme.index("## Layout") : readme.index("## Read on")]
    for folders, names in re.findall(r"^\| (`.*?`) \| (.*) \|$", layout, re.MULTILINE):
        places = re.findall(r"`([\w/]+/)`", folders)
        for name in re.findall(r"`([\w/]+(?:/|\.py|\.lua))`", names):
            assert any((ROOT / place / name).exists() for place in places), f"{folders}: {name}"


def named_files(text: str) -> Iterator[tuple[str, str]]:
    """File and test of each ``tests/x.py::test_y``; a bare ``::test_z`` is of the file before it."""
    file = ""
    for path, test, test_of_same_file in PATH.findall(text):
        file = path or file
        yield file, test or test_of_same_file


def test_the_table_of_settings_is_what_the_code_says() -> None:
    rows = SETTING.findall((DOCS / "operations.md").read_text())
    in_docs = {name: (default, meaning) for name, default, meaning in rows}
    in_code = {
        name.upper(): (shown(field.default), field.description)
        for name, field in Settings.model_fields.items()
    }
    assert len(rows) == len(in_docs), "a setting has two rows"
    assert in_docs == in_code


def test_the_changelog_names_every_renamed_setting() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    names = [*SUCCESSORS, *SUCCESSORS.values()]
    assert [name for name in names if f"`{name}`" not in changelog] == []


def shown(default: object) -> str:
    """A default as its variable would be written."""
    if default is None or default == ():
        return ""
    if isinstance(default, Path):
        return str(default.relative_to(ROOT) if default.is_absolute() else default)
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(document: Path) -> None:
    code = (ROOT / "shared" / "metrics.py").read_text()
    assert [name for name in METRIC.findall(document.read_text()) if f'"{name}"' not in code] == []


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_every_module_that_is_run_exists(document: Path) -> None:
    for module in re.findall(r"python -m (infra[\w.]*\w)", document.read_text()):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@each_document
def test_every_catalog_that_is_shown_is_valid(document: Path) -> None:
    for kind, text in CODE_BLOCK.findall(document.read_text()):
        if kind == "toml":
            Catalog.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("document", PRESENT, ids=lambda path: path.name)
def test_prose_is_wrapped_alike(document: Path) -> None:
    lines = CODE_BLOCK.sub("", document.read_text()).splitlines()
    assert [line for line in lines if len(line) > PROSE_WIDTH and not line.startswith(("|", "!"))] == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_operations_say_how_many_ratios_correct_estimates() -> None:
    script = (ROOT / "shared" / "scheduling" / "lua" / "held.lua").read_text()
    said = re.findall(r"The latest (\d+) ratios", (DOCS / "operations.md").read_text())
    assert said == re.findall(r"local RATIOS, RATIOS_S = (\d+),", script)
