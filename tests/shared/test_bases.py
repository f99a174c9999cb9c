from pathlib import Path

from shared.bases import cross_attention_dims
from shared.catalogue import Catalogue

CATALOGUE = Catalogue.model_validate(
    {"default_model": "folder", "models": {name: {"source": name} for name in ("folder", "odd", "file")}}
)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_a_folder_tells_the_width_of_its_cross_attention_and_others_tell_nothing(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "unet" / "config.json", '{"cross_attention_dim": 768}')
    write(tmp_path / "odd" / "unet" / "config.json", "[no JSON")
    (tmp_path / "file").write_text("a checkpoint")
    assert cross_attention_dims(CATALOGUE, tmp_path / "catalogue.toml") == {"folder": 768}
