"""Any file gives a catalog, or one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.catalog import read_catalog
from shared.errors import InvalidSetting
from shared.settings import Settings

GOOD = """\
default_model = "a"

[models.a]
source = "model"
dtype = "float16"
width = 64

[controlnets.edge]
source = "net"
model = ["a"]
family = "sd1"
"""
PARTS = r"""
[ ] [[ ]] { } = . , " ' \ # - 0x 1e5 nan true 1979-05-27 models controlnets a edge source model family
default_model width loras hub: https:// ~ \u0000 \ud800 é
"""
WORDS = st.sampled_from(PARTS.split()) | st.sampled_from(
    ["\n", "\r\n", " ", "\x1b", "\0", "9" * 30, '"' * 3, "'" * 3]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
FIELDS = "models controlnets default_model a edge source model family dtype width scheduler"
NAMES = st.text(max_size=8) | st.sampled_from(FIELDS.split())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
SOURCES = st.text(max_size=20) | st.sampled_from(
    ["model", "net", "hub:a/b", "a/b", "~", "~x", "/", "..", "x" * 300]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a model and a ControlNet lie, for catalogs to name."""
    folder = tmp_path_factory.mktemp("catalog")
    for path, name in (("model", "model_index"), ("model/unet", "config"), ("net", "config")):
        (folder / path).mkdir()
        (folder / path / f"{name}.json").write_text("{}")
    return folder


def check(folder: Path, data: bytes) -> None:
    """A catalog with these bytes is read, or refused as it should be."""
    path = folder / "catalog.toml"
    path.write_bytes(data)
    said = refusal(path)
    assert said == "" or said.startswith(f"catalog {path}")
    assert said.isprintable()
    assert len(said) < 1000


def refusal(path: Path) -> str:
    """The sentence that refuses a catalog; empty for a good one."""
    try:
        read_catalog(path, Settings())
    except InvalidSetting as error:
        return str(error)
    return ""


def toml(value: Any) -> str:
    """A value as TOML, inline; JSON's strings are TOML's, but for lone surrogates."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return "''" if value is None else json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


@given(data=st.binary(max_size=60))
def test_any_bytes_give_a_catalog_or_one_sentence(folder: Path, data: bytes) -> None:
    check(folder, data)


@given(at=st.integers(0, len(GOOD)), drop=st.integers(0, 12), words=st.lists(WORDS, max_size=6).map("".join))
def test_a_good_catalog_with_a_part_replaced_gives_a_catalog_or_one_sentence(
    folder: Path, at: int, drop: int, words: str
) -> None:
    check(folder, (GOOD[:at] + words + GOOD[at + drop :]).encode())


@given(tables=st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_values_give_a_catalog_or_one_sentence(folder: Path, tables: dict[str, Any]) -> None:
    text = "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in tables.items())
    check(folder, text.encode(errors="surrogateescape") if text.isascii() else text.encode(errors="replace"))


@given(source=SOURCES)
def test_any_source_gives_a_catalog_or_one_sentence(folder: Path, source: str) -> None:
    check(folder, GOOD.replace('"model"', json.dumps(source), 1).encode())
