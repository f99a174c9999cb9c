"""The configs of ControlNets that a base model's worker reads from files."""

from pathlib import Path

import pytest

from shared.catalog.catalog import read_catalog
from shared.errors import ControlNetFailed
from shared.settings import Settings
from workers.families.controlnet_configs import config_reader


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (None, "n.safetensors is missing"),
        (b"\x02\0\0\0\0\0\0\0[]", "not a safetensors file: its header is no JSON of tensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
    ],
)
def test_a_file_that_is_no_controlnet_is_not_said_to_need_a_config(
    tmp_path: Path, contents: bytes | None, why: str
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model_index.json").write_text("{}")
    (tmp_path / "n.safetensors").write_bytes(contents or b"")
    (tmp_path / "catalog.toml").write_text(
        'default_model = "m"\n[models.m]\nsource = "m"\n'
        '[controlnets.n]\nsource = "n.safetensors"\nmodel = "m"\n'
    )
    settings = Settings(catalog=tmp_path / "catalog.toml", home=tmp_path / "home")
    read = config_reader(read_catalog(settings.catalog), settings)
    if contents is None:
        (tmp_path / "n.safetensors").unlink()
    with pytest.raises(ControlNetFailed, match=rf"config of ControlNet 'n' cannot be read: .*{why}"):
        read("n")
