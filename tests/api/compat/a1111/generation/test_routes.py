"""A1111's ``txt2img`` through its real clients, unmodified."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image
from sd_backend_client.api.a1111_webservice import A1111Webservice
from sd_backend_client.api.webui.diffusion_request_body import DiffusionRequestBody
from webuiapi import WebUIApi

from api.services import Services
from tests.api.compat.fake_worker import FakeWorker, fail
from tests.api.gunicorn_server import call
from tests.api.services import OCTETS, lora


def test_webuiapi_gets_images_and_what_was_generated(
    webui: WebUIApi, worker: FakeWorker, services: Services
) -> None:
    result = webui.txt2img(prompt="a cat", negative_prompt="rain", seed=7, width=128, height=64, n_iter=2)
    assert [image.size for image in result.images] == [(128, 64)] * 2
    assert result.info["all_seeds"] == [7, 8]
    assert result.info["warnings"] == []
    assert result.parameters["prompt"] == "a cat"
    spec = services.jobs.get(worker.jobs[0]).spec
    assert (spec.prompt, spec.negative_prompt, spec.prompt_syntax) == ("a cat", "rain", "a1111")
    assert (spec.scheduler, spec.num_inference_steps, spec.guidance_scale) == ("euler_a", 4, 7)
    assert (spec.eta, spec.clip_skip, spec.strength) == (0, None, None)


def test_every_png_has_the_text_of_its_own_image(webui: WebUIApi, worker: FakeWorker) -> None:
    options = {"sd_model_checkpoint": "emoji-sd", "CLIP_stop_at_last_layers": 2}
    result = webui.txt2img(
        prompt="a cat", negative_prompt="rain", seed=7, batch_size=2, sampler_name="DPM++ 2M Karras",
        width=64, height=64, cfg_scale=6.5, override_settings=options,
    )  # fmt: skip
    for image, seed in zip(result.images, (7, 8), strict=True):
        assert image.info["parameters"] == (
            "a cat\nNegative prompt: rain\nSteps: 4, Sampler: DPM++ 2M, Schedule type: Karras,"
            f" CFG scale: 6.5, Seed: {seed}, Size: 64x64, Model hash: 0000000000, Model: emoji-sd,"
            " Clip skip: 2"
        )
    assert result.info["infotexts"] == [image.info["parameters"] for image in result.images]


def test_sd_backend_client_accepts_info(backend: A1111Webservice, worker: FakeWorker) -> None:
    body = DiffusionRequestBody(prompt="a cat", seed=7, steps=4, width=64, height=64, batch_size=2)
    answer = backend.txt2img(body)
    assert [image.size for image in answer["images"]] == [(64, 64)] * 2
    assert answer["info"] is not None
    assert answer["info"].all_seeds == [7, 8]


def test_tags_of_loras_come_back_behind_the_prompt(
    webui: WebUIApi, worker: FakeWorker, services: Services, port: int
) -> None:
    call(port, "PUT", "/v1/loras/anime", lora(), **{"Content-Type": OCTETS})
    result = webui.txt2img(prompt="a <lora:anime:0.8> (cat:1.2)", width=64, height=64, seed=7)
    spec = services.jobs.get(worker.jobs[0]).spec
    assert [(one.name, one.scale) for one in spec.loras] == [("anime", 0.8)]
    assert result.info["prompt"] == "a  (cat:1.2) <lora:anime:0.8>"
    text = result.image.info["parameters"]
    assert text.startswith("a  (cat:1.2) <lora:anime:0.8>\nSteps: 4")
    assert text.endswith('Lora hashes: "anime: 222222222222"')


def test_the_same_job_has_the_same_files(webui: WebUIApi, worker: FakeWorker) -> None:
    first, second = (webui.txt2img(prompt="a cät 猫", seed=7, width=64, height=64) for _ in range(2))
    assert first.json["images"] == second.json["images"]
    assert first.image.info["parameters"].startswith("a cät 猫\n")


def test_a_random_seed_is_told(webui: WebUIApi, worker: FakeWorker, services: Services) -> None:
    result = webui.txt2img(prompt="a cat", seed=-1, width=64, height=64)
    assert result.info["seed"] == services.jobs.get(worker.jobs[0]).spec.seed


def test_without_images_info_is_all_there_is(webui: WebUIApi, worker: FakeWorker) -> None:
    result = webui.txt2img(prompt="a cat", send_images=False, width=64, height=64)
    assert result.images == []
    assert len(result.info["all_seeds"]) == 1


def test_a_failed_job_says_why_in_a1111_s_shape(port: int, services: Services, worker: FakeWorker) -> None:
    worker.work = fail
    answer, body = call(port, "POST", "/sdapi/v1/txt2img", {"prompt": "a cat"})
    assert answer.status == 500
    assert json.loads(body) == {
        "error": "non_finite_image",
        "detail": "the VAE overflows",
        "body": "",
        "errors": "the VAE overflows",
    }


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"sampler_name": "DPM fast"}, 404, "there is no sampler 'DPM fast'; known are DPM++ 2M"),
        ({"scheduler": "sgm_uniform"}, 404, "there is no scheduler 'sgm_uniform'"),
        ({"override_settings": {"sd_model_checkpoint": "sdxl [abc]"}}, 404, "there is no model 'sdxl'"),
        ({"override_settings": {"CLIP_stop_at_last_layers": "x"}}, 422, "CLIP_stop_at_last_layers"),
        ({"override_settings": {"samples_format": "gif"}}, 422, "samples_format"),
        ({"width": 65}, 422, "width"),
        ({"width": 4096}, 422, "limit"),
        ({"steps": 0}, 422, "steps"),
        ({"steps": "many"}, 422, "steps"),
        ({"cfg_scale": 101}, 422, "cfg_scale"),
        ({"batch_size": 0}, 422, "batch_size"),
        ({"batch_size": 3, "n_iter": 2}, 422, "batch_size: num_images is 6, the limit is 4"),
        ({"enable_hr": True}, 422, "enable_hr"),
        ({"tiling": True}, 422, "tiling"),
        ({"restore_faces": True}, 422, "restore_faces"),
        ({"refiner_checkpoint": "xl"}, 422, "refiner_checkpoint 'xl' is not supported"),
        ({"subseed": 3, "subseed_strength": 0.5}, 422, "subseed_strength"),
        ({"s_churn": 1.0}, 422, "s_churn"),
        ({"styles": ["noir"]}, 422, "styles"),
        ({"sampler_name": "Euler a", "eta": 0.5}, 422, "eta"),
        ({"script_name": "X/Y/Z plot"}, 422, "script_name"),
        ({"alwayson_scripts": {"ADetailer": {"args": [True, {}]}}}, 422, "'ADetailer' is not supported"),
        ({"prompt": "a (cat:1.2.3)"}, 422, "prompt"),
        ({"prompt": "[cat:dog:0.5]"}, 422, "prompt editing is not supported"),
        ({"prompt": "a cat <lora:nobody:1>"}, 422, "nobody"),
        ({"prompt": "a cat <lora:a:x>"}, 422, "is no weight"),
    ],
)
def test_what_is_wrong_is_refused_in_a1111_s_own_shape(
    fields: dict[str, Any], status: int, words: str, port: int, services: Services
) -> None:
    answer, body = call(port, "POST", "/sdapi/v1/txt2img", {"prompt": "a cat"} | fields)
    told = json.loads(body)
    assert (answer.status, services.jobs.page()[0]) == (status, [])
    if isinstance(told["detail"], list):
        assert set(told) == {"detail"}
        assert [set(one) for one in told["detail"]] == [{"type", "loc", "msg"}]
        assert told["detail"][0]["loc"][0] == "body"
        assert words in ".".join(told["detail"][0]["loc"]) + told["detail"][0]["msg"]
    else:
        assert set(told) == {"error", "detail", "body", "errors"}
        assert words in told["detail"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"prompt": NaN}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes, port: int) -> None:
    answer, told = call(port, "POST", "/sdapi/v1/txt2img", body, **{"Content-Type": "application/json"})
    assert answer.status in (400, 422)
    assert set(json.loads(told)) == {"error", "detail", "body", "errors"}


def test_what_clients_send_by_habit_is_ignored_with_a_warning(
    webui: WebUIApi, worker: FakeWorker, port: int
) -> None:
    fields = {
        "prompt": "a cat", "width": 64, "height": 64, "steps": "4", "denoising_strength": 0.7, "subseed": 9,
        "alwayson_scripts": {"ADetailer": {"args": [False]}, "ControlNet": {"args": []}},
        "override_settings": {"sd_vae": "Automatic", "show_steps": 1}, "save_images": True, "my_field": 1,
    }  # fmt: skip
    answer, body = call(port, "POST", "/sdapi/v1/txt2img", fields)
    assert answer.status == 200
    assert json.loads(json.loads(body)["info"])["warnings"] == [
        "'my_field' is unknown, and ignored",
        "save_images is ignored: every image is kept for a while, none for ever",
        "override_settings.show_steps is ignored",
    ]


def test_a_schedule_that_is_automatic_leaves_the_sampler_to_the_model(
    port: int, worker: FakeWorker, services: Services
) -> None:
    chosen = []
    for fields in ({}, {"scheduler": "Automatic"}, {"sampler_index": "Heun", "scheduler": "automatic"}):
        body = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, **fields}
        assert call(port, "POST", "/sdapi/v1/txt2img", body)[0].status == 200
        chosen.append(services.jobs.get(worker.jobs[-1]).spec.scheduler)
    assert chosen == [services.catalog.models["emoji-sd"].scheduler] * 2 + ["heun"]


def test_other_file_formats_are_a_setting(port: int, worker: FakeWorker, services: Services) -> None:
    fields = {"prompt": "a cat", "width": 64, "height": 64, "override_settings": {"samples_format": "jpg"}}
    answer, body = call(port, "POST", "/sdapi/v1/txt2img", fields)
    assert answer.status == 200
    with Image.open(io.BytesIO(base64.b64decode(json.loads(body)["images"][0]))) as image:
        assert image.format == "JPEG"
