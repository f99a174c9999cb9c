from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.tiny_models import EMOJI
from workers.families.load_controlnet import load_net
from workers.runtime.weights import foretell_bytes


def test_what_a_net_will_take_is_known_before_it_is_loaded() -> None:
    source = str(EMOJI / "controlnet-edge")
    loaded = load_net("edge", source, "float32", "cpu")
    assert 0 <= foretell_bytes(source, "float32") - loaded.weight_bytes < 0.01 * loaded.weight_bytes
    assert foretell_bytes(source, "float16") == foretell_bytes(source, "float32") // 2


def test_of_a_pipelines_files_those_that_are_loaded_count(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").touch()
    for name in ("unet/model", "unet/model.fp16", "safety_checker/model", "whole"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_file({"w": torch.zeros(10)}, tmp_path / f"{name}.safetensors")
    assert foretell_bytes(str(tmp_path), "float32") == 40


def test_what_cannot_be_seen_takes_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 20)
    assert foretell_bytes(str(tmp_path), "float32") == 0
    assert foretell_bytes("org/name", "float32") == 0
