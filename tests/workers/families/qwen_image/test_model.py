"""Qwen-Image's parts: branches of guidance, texts that are cut, previews, and what is refused by name."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from shared.catalog.schedulers import schedulers_of
from shared.errors import ModelFailed
from shared.families.qwen_image import QWEN_IMAGE
from tests.tiny_transformers import make_qwen_image, make_qwen_image_controlnet
from tests.workers.families.dtypes import in_turn
from tests.workers.families.qwen_image.peer import theirs
from tests.workers.families.transformer.world import PARTS, SCHEDULED_PARTS, TransformerWorld
from workers.families.guidance import CFGBranch
from workers.families.load_base_model import load_model
from workers.families.load_controlnet import load_controlnet
from workers.families.staged_forward import run_to_end

SIZE = (64, 48)
#: Of the model "lightning", as a user of diffusers gives them.
LIGHTNING: dict[str, Any] = {"base_shift": 1.0986, "max_shift": 1.0986, "shift_terminal": None}


@pytest.mark.parametrize("mode", ["text", "image"])
def test_options_of_a_scheduler_config_are_those_of_from_config(world: TransformerWorld, mode: str) -> None:
    begins = world.image(num_inference_steps=4) if mode == "image" else {}
    spec = world.spec(model="lightning", **begins)
    job, ours = world.run(spec)
    with world.scheduler_of_diffusers("lightning", LIGHTNING):
        assert ours.has_bits_of(theirs(world, spec))
    assert job.receipt is not None
    assert LIGHTNING.items() <= job.receipt.scheduler_config.items()
    assert not ours.has_bits_of(world.ours(spec.model_copy(update={"model": "base"})))


def test_branches_that_run_apart_have_the_bits_of_both_together(world: TransformerWorld) -> None:
    spec = world.spec(negative_prompt="a house", num_images=2)
    with world.worker.models.use("base") as model, torch.inference_mode():
        both = model.encode_prompt(spec)
        noise = model.latents.sample_noise([torch.Generator().manual_seed(seed) for seed in (7, 8)], SIZE)
        x, t = model.guidance(spec).expand(noise), torch.tensor(731.0)
        forward = model.staged_forward(x, t, both)
        together = run_to_end(forward, next(forward), None)
        uncond, cond = both.branch(CFGBranch.UNCOND), both.branch(CFGBranch.COND)
        assert uncond.tensors["embeddings"].shape[1] != cond.tensors["embeddings"].shape[1]
        apart = []
        for branch in (uncond, cond):
            forward = model.staged_forward(noise, t, branch)
            apart.append(run_to_end(forward, next(forward), None))
        assert torch.equal(torch.cat(apart), together)


def test_the_end_of_a_text_that_is_not_read_is_told(world: TransformerWorld) -> None:
    prompt = "a red cat on a blue background with a star in the night sky"
    with world.worker.models.use("base") as model:
        guided = world.spec(prompt=prompt, negative_prompt="", max_sequence_length=14)
        read = model.prompt_warnings(guided)
        cut = model.prompt_warnings(guided.model_copy(update={"max_sequence_length": 12}))
    assert read == []
    assert cut == ["prompt has 14 tokens, the text encoder sees 12; ignored: ' night sky'"]


@pytest.mark.parametrize(
    ("fields", "is_told"),
    [({}, True), ({"true_cfg_scale": 1.0}, False), ({"negative_prompt": ""}, False)],
    ids=str,
)
def test_a_job_without_the_guidance_that_its_family_has_by_default_says_so(
    world: TransformerWorld, fields: dict[str, Any], is_told: bool
) -> None:
    with world.worker.models.use("base") as model:
        wanted = world.spec(**fields)
        assert model.guidance(wanted).is_guided == ("negative_prompt" in fields)
        told = model.prompt_warnings(wanted)
    assert [sentence.split(":")[0] for sentence in told] == ["the job has no guidance"] * is_told


def test_a_preview_has_a_pixel_for_each_latent(world: TransformerWorld) -> None:
    with world.worker.models.use("base") as model:
        model.latents.prepare_preview()
        row = model.latents.sample_noise([torch.Generator().manual_seed(7)], SIZE)
        preview = Image.open(io.BytesIO(base64.b64decode(model.latents.preview(row, SIZE))))
    assert preview.size == (8, 6)


@pytest.mark.parametrize(
    ("switch", "why"),
    [("zero_cond_t", "was made to edit images"), ("use_layer3d_rope", "was made for layered images")],
)
def test_transformers_for_other_tasks_are_refused_by_name(tmp_path: Path, switch: str, why: str) -> None:
    pipe = make_qwen_image()
    pipe.transformer.register_to_config(**{switch: True})
    pipe.save_pretrained(tmp_path / "m")
    with pytest.raises(ModelFailed, match=rf"model 'm' .* cannot be loaded: its transformer {why}"):
        load_model("m", str(tmp_path / "m"), "float32", "cpu")


def test_pipelines_that_edit_images_are_refused_by_name(tmp_path: Path) -> None:
    make_qwen_image().save_pretrained(tmp_path / "m")
    index = tmp_path / "m" / "model_index.json"
    edited = {**json.loads(index.read_text()), "_class_name": "QwenImageEditPlusPipeline"}
    index.write_text(json.dumps(edited))
    with pytest.raises(ModelFailed, match="it is a QwenImageEditPlus: that family is not served"):
        load_model("m", str(tmp_path / "m"), "float32", "cpu")


def test_controlnets_of_channels_that_diffusers_does_not_give_are_refused(tmp_path: Path) -> None:
    make_qwen_image().save_pretrained(tmp_path / "m")
    make_qwen_image_controlnet(extra_condition_channels=8).save_pretrained(tmp_path / "n")
    with pytest.raises(ModelFailed, match=r"ControlNet 'n' .* it takes 8 channels beside an image's"):
        load_controlnet("n", str(tmp_path / "n"), "float32", "cpu", base=str(tmp_path / "m"))


#: All but LCM's, whose noise a seed decides here, and the global generator in diffusers.
JUDGED = [name for name in schedulers_of(QWEN_IMAGE) if name != "flow_match_lcm"]


@pytest.mark.parametrize("number", range(len(JUDGED)), ids=JUDGED)
def test_every_scheduler_makes_what_it_makes_in_diffusers(world: TransformerWorld, number: int) -> None:
    """With a ControlNet in all steps in one type of numbers; in some of them, and without, in the other."""
    for part in in_turn(world.dtype, SCHEDULED_PARTS, number):
        controlnets = [] if part is None else [world.control("two", **PARTS[part])]
        spec = world.spec(scheduler=JUDGED[number], num_inference_steps=4, controlnets=controlnets)
        assert world.ours(spec).has_bits_of(theirs(world, spec)), part
