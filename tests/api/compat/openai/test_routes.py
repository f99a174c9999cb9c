"""OpenAI's images API through the official Python client, unmodified."""

import base64
import http.client
import io
import json
import threading
import time
from typing import Any

import openai as sdk
import pytest
from openai import OpenAI
from PIL import Image

from api.services import Services
from shared.errors import JobCancelled
from shared.jobs.attempt import Attempt
from shared.keys import control_key
from shared.tenants.tenant import LOCAL
from tests.api.compat.fake_worker import FakeWorker, fail
from tests.api.compat.openai.conftest import error_of
from tests.api.services import base64_of, edge, image_file


def image_of(text: str | None) -> Image.Image:
    assert text is not None
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    image.load()
    return image


def mask(size: tuple[int, int] = (64, 64), hole: int = 0) -> bytes:
    """Opaque but for its left half."""
    image = Image.new("RGBA", size, (9, 9, 9, 255))
    image.paste((9, 9, 9, hole), (0, 0, size[0] // 2, size[1]))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def run_until_cancelled(attempt: Attempt) -> None:
    """Compute steps as a worker does, which hears of a cancel when it reports one."""
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            attempt.advance(3, 4)
            attempt.preview(base64_of(image_file((8, 8))), 3)
            time.sleep(0.05)
    except JobCancelled:
        attempt.end("cancelled", None, [])


def test_an_image_comes_back_in_the_answer(openai: OpenAI, worker: FakeWorker, services: Services) -> None:
    answer = openai.images.generate(prompt="a cat", model="emoji-sd", size="128x64")
    assert answer.data is not None
    [image] = answer.data
    assert image_of(image.b64_json).size == (128, 64)
    assert (answer.size, answer.output_format, answer.background) == ("128x64", "png", "opaque")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0
    [job] = worker.jobs
    assert services.jobs.get(job).spec.prompt == "a cat"
    assert answer.model_extra is not None
    assert answer.model_extra["id"] == job
    assert answer.model_extra["warnings"] == []


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_images_come_in_the_format_and_number_asked_for(
    output_format: Any, openai: OpenAI, worker: FakeWorker, services: Services
) -> None:
    answer = openai.images.generate(prompt="a cat", n=3, output_format=output_format, output_compression=40)
    assert answer.data is not None
    assert [image_of(image.b64_json).format for image in answer.data] == [output_format.upper()] * 3
    spec = services.jobs.get(worker.jobs[0]).spec
    assert (spec.num_images, spec.output_format, spec.output_quality) == (3, output_format, 40)


def test_a_url_can_be_fetched(openai: OpenAI, worker: FakeWorker, port: int) -> None:
    answer = openai.images.generate(prompt="a cat", response_format="url")
    assert answer.data is not None
    url = answer.data[0].url
    assert url is not None
    home = f"http://127.0.0.1:{port}"
    assert url.startswith(f"{home}/v1/jobs/")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", url.removeprefix(home))
    assert connection.getresponse().read() == image_file()
    connection.close()


def test_fields_of_our_own_go_beside_those_of_the_api(
    openai: OpenAI, worker: FakeWorker, services: Services
) -> None:
    body = {"negative_prompt": "rain", "num_inference_steps": 7, "seed": 5, "scheduler": "ddim"}
    openai.images.generate(prompt="a cat", extra_body=body | {"guidance_scale": 2, "controlnets": [edge()]})
    spec = services.jobs.get(worker.jobs[0]).spec
    assert (spec.negative_prompt, spec.num_inference_steps, spec.seed) == ("rain", 7, 5)
    assert (spec.scheduler, spec.guidance_scale) == ("ddim", 2)
    assert [controlnet.name for controlnet in spec.controlnets] == ["edge"]


@pytest.mark.parametrize("name", ["gpt-image-1", "dall-e-3", "sd-turbo"])
def test_names_that_clients_have_built_in_mean_a_model_of_the_catalog(
    name: str, openai: OpenAI, worker: FakeWorker
) -> None:
    answer = openai.images.generate(
        prompt="a cat", model=name, quality="high", user="me", moderation="auto", style="vivid"
    )
    assert answer.model_extra is not None
    assert answer.model_extra["model"] == "emoji-sd"
    warnings = answer.model_extra["warnings"]
    assert f"model {name} is served by emoji-sd" in warnings
    assert {"quality is ignored", "user is ignored", "style is ignored"} < set(warnings)
    assert "moderation is ignored" not in warnings


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": ""}, None, ""),
        ({"model": "sdxl-9"}, "model", "there is no model 'sdxl-9'"),
        ({"size": "64"}, "size", "WIDTHxHEIGHT"),
        ({"size": "65x64"}, "size", "multiple of 8"),
        ({"size": "4096x64"}, "size", "the limit is"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 5}, "n", "the limit is 4"),
        ({"n": "2"}, "n", "valid integer"),
        ({"output_format": "PNG"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_format": "gif"}, "output_format", "'png', 'jpeg' or 'webp'"),
        ({"output_format": "jpeg", "output_compression": 101}, "output_compression", "100"),
        ({"background": "transparent"}, "background", "not supported"),
        ({"response_format": "b64"}, "response_format", "'b64_json' or 'url'"),
        ({"partial_images": 4, "stream": True}, "partial_images", "less than or equal to 3"),
        ({"stream": True, "n": 2}, "n", "one image"),
        ({"stream": True, "seeds": [1, 2]}, "seeds", "one image"),
        ({"n": 4, "seeds": [1]}, "n", "leave n out"),
        ({"n": 2, "seeds": [1, 2]}, "n", "leave n out"),
        ({"svg": {}}, "svg", "not supported"),
        ({"steps": 4}, "steps", "unknown field"),
        ({"width": 64}, "size", "width is size here"),
        ({"scheduler": "ulcer"}, "scheduler", "ulcer"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"loras": [{"name": "nobody"}]}, "loras.0.name", "nobody"),
        ({"loras": [{"name": "a", "weight": 1}]}, "loras.0.weight", "scale"),
    ],
)
def test_what_is_wrong_is_refused_in_the_api_s_own_shape(
    fields: dict[str, Any], param: str | None, words: str, openai: OpenAI, services: Services
) -> None:
    if fields == {"prompt": ""}:
        fields = {"prompt": None}
        param, words = "prompt", "required"
    body = {"prompt": "a cat"} | fields
    with pytest.raises(sdk.BadRequestError) as refused:
        openai.post("/images/generations", cast_to=object, body=body)
    error = error_of(refused.value)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert words in str(error["message"])
    assert services.jobs.page()[0] == []


def test_a_failed_job_is_run_once_and_its_error_says_why(openai: OpenAI, worker: FakeWorker) -> None:
    worker.work = fail
    with pytest.raises(sdk.InternalServerError) as failed:
        openai.images.generate(prompt="a cat")
    error = error_of(failed.value)
    assert (error["code"], error["type"]) == ("non_finite_image", "server_error")
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert len(worker.jobs) == 1


def test_a_cancelled_job_is_a_conflict_that_is_not_repeated(openai: OpenAI, worker: FakeWorker) -> None:
    def cancel(services: Services, attempt: Attempt) -> None:
        attempt.end("cancelled", None, [])

    worker.work = cancel
    with pytest.raises(sdk.ConflictError, match="the job was cancelled"):
        openai.images.generate(prompt="a cat")
    assert len(worker.jobs) == 1


def test_a_client_that_hangs_up_has_its_job_cancelled(port: int, services: Services) -> None:
    begins, ended = threading.Event(), threading.Event()

    def wait_for_the_cancel(services: Services, attempt: Attempt) -> None:
        begins.set()
        run_until_cancelled(attempt)
        ended.set()

    worker = FakeWorker(services)
    worker.work = wait_for_the_cancel
    worker.start()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        body = json.dumps({"prompt": "a cat"})
        connection.request("POST", "/v1/images/generations", body, {"Content-Type": "application/json"})
        assert begins.wait(60)
        connection.close()
        assert ended.wait(60)
        assert services.jobs.get(worker.jobs[0]).status == "cancelled"
    finally:
        worker.stop()


def test_partial_images_come_before_the_whole_one_in_its_size(openai: OpenAI, worker: FakeWorker) -> None:
    stream = openai.images.generate(
        prompt="a cat", size="128x64", output_format="webp", stream=True, partial_images=2
    )
    events = list(stream)
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [getattr(event, "partial_image_index", None) for event in events] == [0, 1, None]
    for event in events:
        image = image_of(event.b64_json)
        assert (image.size, image.format) == ((128, 64), "WEBP")
        assert (event.size, event.output_format, event.background) == ("128x64", "webp", "opaque")
    [*_, last] = events
    assert last.type == "image_generation.completed"
    assert last.usage.total_tokens == 0


def test_a_stream_without_partial_images_has_the_whole_one(openai: OpenAI, worker: FakeWorker) -> None:
    events = list(openai.images.generate(prompt="a cat", stream=True))
    assert [event.type for event in events] == ["image_generation.completed"]


def test_an_error_within_a_stream_reaches_the_client(openai: OpenAI, worker: FakeWorker) -> None:
    worker.work = fail
    with pytest.raises(sdk.APIError, match="the VAE overflows"):
        list(openai.images.generate(prompt="a cat", stream=True))


def test_a_stream_that_is_left_cancels_its_job(openai: OpenAI, services: Services) -> None:
    worker = FakeWorker(services)
    worker.work = lambda _, attempt: run_until_cancelled(attempt)
    worker.start()
    try:
        with openai.images.generate(prompt="a cat", stream=True, partial_images=1) as stream:
            next(iter(stream))
        deadline = time.monotonic() + 30
        while services.jobs.get(worker.jobs[0]).status != "cancelled":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        worker.stop()


def test_an_edit_starts_from_its_image_and_redraws_what_the_mask_leaves_open(
    openai: OpenAI, worker: FakeWorker, services: Services
) -> None:
    answer = openai.images.edit(
        image=image_file(), mask=mask(), prompt="a hat", n=2, extra_body={"strength": 0.6, "seed": 7}
    )
    assert answer.data is not None
    assert len(answer.data) == 2
    spec = services.jobs.get(worker.jobs[0]).spec
    assert (spec.width, spec.height, spec.strength, spec.seed) == (64, 64, 0.6, 7)
    assert spec.mask_image is not None
    with Image.open(io.BytesIO(services.images.get(control_key(spec.mask_image, LOCAL)))) as stored:
        assert stored.getpixel((0, 0)) == (255, 255, 255)
        assert stored.getpixel((63, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    "loras",
    [[{"name": "style", "scale": 0.5}], '[{"name": "style", "scale": 0.5}]'],
    ids=["as the client writes lists", "a JSON string"],
)
def test_lists_of_objects_fit_into_a_form(loras: Any, openai: OpenAI) -> None:
    with pytest.raises(sdk.BadRequestError, match="known are none"):
        openai.images.edit(image=[image_file()], prompt="a hat", extra_body={"loras": loras})


def test_an_edit_streams_too(openai: OpenAI, worker: FakeWorker) -> None:
    events = list(openai.images.edit(image=image_file(), prompt="a hat", stream=True, partial_images=1))
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"image": [image_file(), image_file()]}, "image", "one image can be edited, and there are 2"),
        ({"image": b"no image"}, "image", "no PNG, JPEG or WebP"),
        ({"image": image_file()[:100]}, "image", "broken"),
        ({"mask": image_file()}, "mask", "no transparency"),
        ({"mask": mask(hole=255)}, "mask", "nothing would be edited"),
        ({"mask": mask((32, 32))}, "mask", "the mask has 32 x 32 pixels"),
        ({"mask": b"no image"}, "mask", "no PNG or WebP"),
        ({"mask": mask()[:60]}, "mask", "broken"),
        ({"markup": mask()}, "markup", "no file"),
        ({"n": 9}, "n", "the limit is 4"),
    ],
)
def test_a_wrong_edit_is_refused_by_its_field(
    fields: dict[str, Any], param: str, words: str, openai: OpenAI
) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        openai.images.edit(**{"image": image_file(), "prompt": "a hat"} | fields)
    error = error_of(refused.value)
    assert error["param"] == param
    assert words in str(error["message"])


def test_variations_are_not_found(openai: OpenAI) -> None:
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(sdk.NotFoundError, match="variations are not supported"),
    ):
        openai.images.create_variation(image=image_file())


def test_models_are_listed_for_both_apis(openai: OpenAI, port: int) -> None:
    assert "emoji-sd" in [model.id for model in openai.models.list()]
    model = openai.models.retrieve("emoji-sd")
    assert (model.id, model.object, model.owned_by) == ("emoji-sd", "model", "swiftdiffusion")
    with pytest.raises(sdk.NotFoundError):
        openai.models.retrieve("dall-e-9")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v1/models")
    assert json.loads(connection.getresponse().read())["models"][0]["name"] == "emoji-sd"
    connection.close()


def test_a_body_that_is_no_json_is_refused_in_the_api_s_own_shape(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for body, content_type, status in [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"prompt=cat", "application/x-www-form-urlencoded", 415),
    ]:
        connection.request("POST", "/v1/images/generations", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        assert answer.status == status
        assert set(json.loads(answer.read())["error"]) == {"message", "type", "param", "code"}
    connection.close()
