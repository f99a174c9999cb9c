from pathlib import Path

import pytest

from shared.catalogue import read_catalogue
from shared.errors import InvalidSetting
from shared.settings import Settings

GOOD = """\
default_model = "a"

[models.a]
source = "model"

[controlnets.edge]
source = "net"
model = "a"
"""


def write(folder: Path, text: str) -> Path:
    for name, config in (("model", "model_index.json"), ("net", "config.json"), ("folder", "other.json")):
        (folder / name).mkdir()
        (folder / name / config).write_text("{}")
    path = folder / "catalogue.toml"
    path.write_text(text)
    return path


def test_a_catalogue_names_models_and_their_nets(tmp_path: Path) -> None:
    catalogue = read_catalogue(write(tmp_path, GOOD))
    assert list(catalogue.models) == ["a"]
    assert catalogue.nets_of("a") == ["edge"]
    assert catalogue.models["a"].num_inference_steps == 30


def test_the_embedded_catalogue_is_sound() -> None:
    assert read_catalogue(Settings().catalog).default_model == "emoji-sd"


def test_a_hub_id_needs_no_folder(tmp_path: Path) -> None:
    text = GOOD.replace('"model"', '"hub:org/name"')
    assert read_catalogue(write(tmp_path, text)).models["a"].source == "hub:org/name"


@pytest.mark.parametrize(
    ("old", "new", "line", "why"),
    [
        ('source = "model"', 'source = "elsewhere"', 4, "elsewhere does not exist"),
        ('source = "model"', 'source = "folder"', 4, r"folder is no diffusers folder: .* model_index\.json"),
        ('source = "net"', 'source = "model"', 7, r"model is no diffusers folder: it has no config\.json"),
        ('source = "model"', 'source = "catalogue.toml"', 4, "neither a folder nor a .safetensors file"),
        ('source = "model"', 'source = "model"\nconfig = "model"', 5, "belongs to a .safetensors file"),
        ('source = "model"', 'source = "model"\nattention_slicing = 0', 5, "attention_slicing"),
        ('source = "model"', 'source = "model"\nsteps = 3', 5, "Extra inputs"),
        ('default_model = "a"', 'default_model = "b"', 1, "no model 'b'"),
        ('model = "a"\n', 'model = "c"\n', 8, "no model 'c'"),
        ('source = "model"', 'source = "model"\nscheduler = "fast"', 5, "known are ddim"),
        ('source = "model"', 'source = "model"\nwidth = 65', 5, "multiple of 8"),
        ('source = "net"\n', "", 6, "Field required"),
        ("[models.a]", "[models.a]\nsource = 1", 5, "overwrite"),
        ('default_model = "a"', 'default_model = "a"\ndefault_model = "a"', 2, "overwrite"),
    ],
)
def test_a_mistake_stops_the_start_and_names_its_line(
    tmp_path: Path, old: str, new: str, line: int, why: str
) -> None:
    text = GOOD[: len(GOOD) - len(old)] + new if GOOD.endswith(old) else GOOD.replace(old, new, 1)
    with pytest.raises(InvalidSetting, match=why) as caught:
        read_catalogue(write(tmp_path, text))
    assert f"line {line}" in str(caught.value)


def test_a_missing_catalogue_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"nowhere\.toml"):
        read_catalogue(tmp_path / "nowhere.toml")
