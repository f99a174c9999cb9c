import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.tiny_models import EMOJI
from workers.families.load_controlnet import load_controlnet
from workers.runtime.weights.source import estimate_bytes


def test_what_a_controlnet_will_take_is_known_before_it_is_loaded() -> None:
    source = str(EMOJI / "controlnets" / "edge")
    loaded = load_controlnet("edge", source, "float32", "cpu")
    assert 0 <= estimate_bytes(source, "float32") - loaded.weight_bytes < 0.01 * loaded.weight_bytes
    assert estimate_bytes(source, "float16") == estimate_bytes(source, "float32") // 2


def test_of_a_pipelines_files_those_that_are_loaded_count(tmp_path: Path) -> None:
    parts = {part: ["diffusers", "Part"] for part in ("unet", "vae", "safety_checker")}
    index = {"_class_name": "Pipeline", **parts, "text_encoder_3": [None, None]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    # Given a part in two ways, one as a variant alone, in shards, and files that belong to no part
    stem = "diffusion_pytorch_model"
    counted = ["unet/model", f"vae/{stem}.fp16-00001-of-00002", f"vae/{stem}.fp16-00002-of-00002"]
    others = ["unet/model.fp16", "unet/model-00001-of-00001", "safety_checker/model", "whole"]
    others += ["text_encoder_3/model", "text_encoders/model", "unet/lora"]
    for name in counted + others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_file({"w": torch.zeros(10)}, tmp_path / f"{name}.safetensors")
    assert estimate_bytes(str(tmp_path), "float32") == 40 * len(counted)
    assert estimate_bytes(str(tmp_path), "float32", without="vae") == 40


def test_what_cannot_be_seen_takes_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 20)
    assert estimate_bytes(str(tmp_path), "float32") == 0
    assert estimate_bytes("org/name", "float32") == 0
