"""The way in which tests run clients for Node."""

from pathlib import Path

import pytest

from tests.node_scripts import NodeScripts


@pytest.fixture
def folder(tmp_path: Path, node: NodeScripts) -> Path:
    """Of scripts of a test's own; Node is there."""
    return tmp_path


def test_a_script_gets_arguments_and_variables_and_its_json_comes_back(folder: Path) -> None:
    (folder / "told.mjs").write_text("console.log(JSON.stringify([process.argv.slice(2), process.env.KEY]));")
    assert NodeScripts(folder).run("told.mjs", "a b", "c", KEY="swk") == [["a b", "c"], "swk"]


def test_a_script_that_fails_says_why(folder: Path) -> None:
    (folder / "fails.mjs").write_text("throw new Error('no such model');")
    with pytest.raises(AssertionError, match="no such model"):
        NodeScripts(folder).run("fails.mjs")
