"""Clients of A1111's API against a whole fleet."""

import io
import json
import time
from typing import Any

import pytest
from PIL import Image
from sd_backend_client.api.a1111_webservice import A1111Webservice
from sd_backend_client.api.webui.diffusion_request_body import DiffusionRequestBody
from webuiapi import ControlNetUnit, WebUIApi

from tests.fleet.conftest import Client
from tests.node_scripts import NodeScripts
from tests.tiny_models import EMOJI


@pytest.fixture
def webui(fleet: Client) -> WebUIApi:
    return WebUIApi(baseurl=f"{fleet.stack.api_url}/sdapi/v1", sampler="Euler a", steps=4)


def control_image() -> Image.Image:
    image = Image.new("RGB", (96, 64), "black")
    image.paste("white", (20, 20, 60, 44))
    return image


def test_a_call_with_a_controlnet_and_a_lora_is_that_of_the_same_job(fleet: Client, webui: WebUIApi) -> None:
    fleet.put_lora("tagged", (EMOJI / "loras" / "twemoji.safetensors").read_bytes())
    unit = ControlNetUnit(image=control_image(), model="edge", module="canny", weight=0.7)
    arguments: dict[str, Any] = {
        "prompt": "a (red:1.2) apple <lora:tagged:0.8>", "seed": 7, "width": 64, "height": 64,
        "batch_size": 2,
        "override_settings": {"sd_model_checkpoint": "emoji-sd"}, "controlnet_units": [unit],
        "alwayson_scripts": {},
    }  # fmt: skip
    result = webui.txt2img(**arguments)
    job = fleet.wait(result.info["job_id"])
    assert result.info["all_seeds"] == [7, 8] == [image["seed"] for image in job["images"]]
    for image, stored in zip(result.images, job["images"], strict=True):
        with Image.open(io.BytesIO(fleet.get(stored["url"]).content)) as same:
            assert image.tobytes() == same.tobytes()
            assert image.info["receipt"] == same.info["receipt"]
        text = image.info["parameters"]
        assert text.startswith("a (red:1.2) apple <lora:tagged:0.8>\nSteps: 4, Sampler: Euler a,")
        assert (
            f"Seed: {stored['seed']}, Size: 64x64, Model hash: {job['receipt']['model_sha256'][:10]}" in text
        )
        assert 'ControlNet 0: "Module: canny, Model: edge, Weight: 0.7' in text
        assert "Lora hashes: " in text


def test_a_mask_leaves_the_rest_of_the_image_as_it_was(webui: WebUIApi) -> None:
    image, mask = Image.new("RGB", (128, 96), "teal"), Image.new("L", (128, 96))
    mask.paste(255, (40, 30, 72, 62))
    result = webui.img2img(
        images=[image], mask_image=mask, prompt="a star", seed=7, width=64, height=64, steps=6
    )
    assert result.image.size == (128, 96)
    assert result.image.getpixel((4, 4)) == image.getpixel((4, 4))
    assert result.image.getpixel((56, 46)) != image.getpixel((56, 46))


def test_progress_of_a_running_call_has_a_preview_and_an_interrupt_ends_it(fleet: Client) -> None:
    backend = A1111Webservice(fleet.stack.api_url)
    handle = backend.submit_txt2img(DiffusionRequestBody(prompt="a star", steps=200, width=64, height=64))
    deadline = time.monotonic() + 60
    while not ((told := backend.progress_check()).current_image and told.state.sampling_step):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert told.state.sampling_steps == 200
    assert 0 < told.progress < 1
    assert handle.cancel()
    while backend.progress_check().state.job_count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_client_for_node_generates_with_a_controlnet(fleet: Client, node: NodeScripts) -> None:
    fleet.put_lora("tagged", (EMOJI / "loras" / "twemoji.safetensors").read_bytes())
    parameters = {
        "prompt": "a (red:1.2) apple <lora:tagged:0.8>", "seed": 7, "steps": 4, "width": 64, "height": 64,
        "batch_size": 2, "sampler_name": "DPM++ 2M", "override_settings": {"sd_model_checkpoint": "emoji-sd"},
    }  # fmt: skip
    told = node.run("a1111.js", "generate", fleet.stack.api_url, json.dumps(parameters))
    for call in ("txt2img", "img2img"):
        assert told[call]["sizes"] == [[64, 64]] * 2
        job = fleet.wait(told[call]["info"]["job_id"])
        assert told[call]["info"]["all_seeds"] == [7, 8] == [image["seed"] for image in job["images"]]
        [controlnet] = job["request"]["controlnets"]
        assert (controlnet["name"], controlnet["preprocessor"]) == ("edge", "canny")
        assert [lora["name"] for lora in job["request"]["loras"]] == ["tagged"]
        assert job["request"]["scheduler"] == "dpmpp_2m_karras"
    assert told["progress"]["state"]["job_count"] == 0


def test_options_of_a_caller_count_for_its_later_calls(webui: WebUIApi) -> None:
    webui.util_set_model("emoji-sd")
    webui.set_options({"CLIP_stop_at_last_layers": 2, "samples_format": "jpg"})
    try:
        result = webui.txt2img(prompt="a star", seed=7, width=64, height=64)
    finally:
        webui.set_options({"CLIP_stop_at_last_layers": 1, "samples_format": "png"})  # of all tests' caller
    assert (result.info["clip_skip"], result.image.format) == (2, "JPEG")
