"""A1111's ``img2img`` and its masks, through its real clients, unmodified."""

import base64
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from sd_backend_client.api.a1111_webservice import A1111Webservice
from sd_backend_client.api.webui.diffusion_request_body import DiffusionRequestBody
from webuiapi import WebUIApi

from api.compat.a1111.generation.fields import Img2ImgFields
from api.compat.a1111.generation.images.init_image import SizeLimits, read_init_image
from api.services import Services
from shared.catalog.entries import Catalog, ModelEntry
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL, control_key
from tests.api.compat.fake_worker import FakeWorker
from tests.api.gunicorn_server import call
from tests.api.services import animated_file, base64_of, image_file


def plain(size: tuple[int, int] = (64, 64), colour: str = "teal") -> Image.Image:
    return Image.new("RGB", size, colour)


def mask(size: tuple[int, int] = (64, 64), box: tuple[int, int, int, int] = (16, 16, 32, 32)) -> Image.Image:
    """Black, and white in a box."""
    image = Image.new("L", size)
    image.paste(255, box)
    return image


def stored(services: Services, sha256: str | None) -> Image.Image:
    assert sha256 is not None
    image = Image.open(io.BytesIO(services.images.get(control_key(sha256, LOCAL))))
    image.load()
    return image


def spec_of(worker: FakeWorker, services: Services) -> JobSpec:
    return services.jobs.get(worker.jobs[-1]).spec


def test_an_image_is_resized_to_width_and_height(
    webui: WebUIApi, worker: FakeWorker, services: Services
) -> None:
    result = webui.img2img(images=[plain((40, 80))], prompt="a cat", width=64, height=64, seed=1)
    assert result.image.size == (64, 64)
    spec = spec_of(worker, services)
    assert (spec.width, spec.height, spec.strength, spec.mask_image) == (64, 64, 0.75, None)
    assert stored(services, spec.image).size == (64, 64)
    assert "Denoising strength: 0.75" in result.image.info["parameters"]
    assert result.parameters["init_images"] is None


def test_of_a_model_of_an_unknown_family_the_images_sides_are_ones_that_any_takes(
    services: Services,
) -> None:
    catalog = Catalog(default_model="m", models={"m": ModelEntry(source="hub:x/y")})
    limits = SizeLimits.of("m", replace(services, catalog=catalog))
    fields = Img2ImgFields(init_images=[base64_of(image_file((104, 72)))])
    assert read_init_image(fields, limits).image.size == (96, 64)
    named = fields.model_copy(update={"width": 72, "height": 64})
    assert read_init_image(named, limits).image.size == (72, 64)


def test_crop_and_fill_keep_the_aspect_ratio(webui: WebUIApi, worker: FakeWorker, services: Services) -> None:
    image = plain((64, 128), "white")
    image.paste("black", (0, 0, 64, 32))  # the first quarter
    arguments: dict[str, Any] = {"images": [image], "prompt": "a cat", "width": 64, "height": 64}
    webui.img2img(**arguments, resize_mode=1)
    cropped = stored(services, spec_of(worker, services).image)
    assert cropped.getpixel((32, 2)) == (255, 255, 255)  # the first quarter is cut off
    webui.img2img(**arguments, resize_mode=2)
    filled = stored(services, spec_of(worker, services).image)
    assert [filled.getpixel((2, y)) for y in (2, 60)] == [(0, 0, 0), (255, 255, 255)]  # the edges, repeated


def test_what_is_transparent_is_white(webui: WebUIApi, worker: FakeWorker, services: Services) -> None:
    webui.img2img(images=[Image.new("RGBA", (64, 64), (9, 9, 9, 0))], prompt="a cat", width=64, height=64)
    assert stored(services, spec_of(worker, services).image).getpixel((0, 0)) == (255, 255, 255)


def test_around_a_mask_the_image_stays_as_it_was(
    webui: WebUIApi, worker: FakeWorker, services: Services
) -> None:
    result = webui.img2img(
        images=[plain()], mask_image=mask(), prompt="a cat", width=64, height=64, mask_blur=0,
        inpaint_full_res=False, inpainting_fill=1,
    )  # fmt: skip
    generated = Image.open(io.BytesIO(image_file()))
    assert result.image.getpixel((8, 8)) == plain().getpixel((0, 0))
    assert result.image.getpixel((24, 24)) == generated.getpixel((24, 24))
    spec = spec_of(worker, services)
    assert stored(services, spec.mask_image).convert("L").getpixel((24, 24)) == 255
    assert stored(services, spec.image).getpixel((24, 24)) == plain().getpixel((0, 0))
    assert "receipt" not in result.image.info  # no job generates this image
    assert "parameters" in result.image.info


def test_webuiapi_s_defaults_generate_the_part_around_the_mask_in_the_whole_size(
    webui: WebUIApi, worker: FakeWorker, services: Services
) -> None:
    image = plain((256, 128))
    image.paste("red", (60, 40, 84, 64))
    size, box = (256, 128), (64, 44, 80, 60)
    result = webui.img2img(images=[image], mask_image=mask(size, box), prompt="a cat", width=64, height=64)
    assert result.image.size == (256, 128)
    assert result.image.getpixel((10, 10)) == plain().getpixel((0, 0))
    spec = spec_of(worker, services)
    assert (spec.width, spec.height) == (64, 64)
    part = stored(services, spec.image)
    assert part.size == (64, 64)
    red = part.getpixel((32, 32))  # what is masked begins with the colours around it
    assert isinstance(red, tuple)
    assert red[0] > 200


def test_an_inverted_mask_keeps_what_is_white(
    webui: WebUIApi, worker: FakeWorker, services: Services
) -> None:
    result = webui.img2img(
        images=[plain()], mask_image=mask(), prompt="a cat", width=64, height=64, mask_blur=0,
        inpainting_mask_invert=1, inpaint_full_res=False,
    )  # fmt: skip
    assert result.image.getpixel((24, 24)) == plain().getpixel((0, 0))
    assert result.image.getpixel((60, 60)) != plain().getpixel((0, 0))


def test_sd_backend_client_inpaints(backend: A1111Webservice, worker: FakeWorker, services: Services) -> None:
    handle = backend.submit_inpaint(
        DiffusionRequestBody(prompt="a cat", init_images=[plain()], mask=mask(), width=64, height=64, steps=4)
    )
    result = handle.wait(timeout=60)
    assert [image.size for image in result.images] == [(64, 64)]
    assert spec_of(worker, services).mask_image is not None


IMAGE = base64_of(image_file())


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({}, 404, "Init image not found"),
        ({"init_images": []}, 404, "Init image not found"),
        ({"init_images": [IMAGE, IMAGE]}, 422, "init_images: one image, not 2"),
        ({"init_images": ["no image!"]}, 422, "init_images.0: the image is no base64"),
        ({"init_images": [base64_of(b"text")]}, 422, "init_images.0: the image is no PNG"),
        ({"init_images": [base64_of(image_file()[:-60])]}, 422, "broken or truncated"),
        ({"init_images": [base64_of(animated_file())]}, 422, "animated"),
        ({"init_images": ["https://example.org/cat.png"]}, 422, "URLs are not fetched"),
        ({"init_images": [base64_of(image_file((1200, 900)))]}, 422, "more than 1000000"),
        ({"init_images": [7]}, 422, "init_images"),
        ({"init_images": [IMAGE], "resize_mode": 3}, 422, "resize_mode 3 is not supported"),
        ({"init_images": [IMAGE], "width": 100}, 422, "width is 100"),
        ({"init_images": [IMAGE], "height": 1 << 20}, 422, "height is 1048576"),
        ({"init_images": [IMAGE], "denoising_strength": 2}, 422, "denoising_strength"),
        ({"init_images": [IMAGE], "denoising_strength": 0, "steps": 4}, 422, "denoising_strength: strength"),
        ({"init_images": [IMAGE], "initial_noise_multiplier": 1.1}, 422, "initial_noise_multiplier"),
        ({"init_images": [IMAGE], "mask": "no image!"}, 422, "mask: the image is no base64"),
        (
            {"init_images": [IMAGE], "mask": base64_of(image_file((32, 64)))},
            422,
            "mask: the mask has 32 x 64",
        ),
        ({"init_images": [IMAGE], "mask": base64_of(animated_file())}, 422, "mask: the image is animated"),
        ({"init_images": [IMAGE], "mask": base64_of(image_file()[:-60])}, 422, "mask: the image is broken"),
        ({"init_images": [IMAGE], "mask": IMAGE, "inpainting_fill": 2}, 422, "latent noise"),
        ({"init_images": [IMAGE], "mask": IMAGE, "mask_blur": -1}, 422, "mask_blur"),
        ({"init_images": [IMAGE], "mask": IMAGE, "mask_blur": 10**12}, 422, "mask_blur"),
        ({"init_images": [IMAGE], "mask": IMAGE, "mask_blur_x": 65}, 422, "mask_blur_x"),
        ({"init_images": [IMAGE], "mask": IMAGE, "mask_blur_y": 10**400}, 422, "mask_blur_y"),
    ],
)
def test_what_is_wrong_with_images_is_refused_by_name(
    fields: dict[str, Any], status: int, words: str, port: int, services: Services
) -> None:
    body = {"prompt": "a cat", "width": 64, "height": 64} | fields
    answer, told = call(port, "POST", "/sdapi/v1/img2img", body)
    detail = json.loads(told)["detail"]
    if isinstance(detail, list):
        detail = ".".join(map(str, detail[0]["loc"])) + detail[0]["msg"]
    assert (answer.status, services.jobs.page()[0]) == (status, [])
    assert words in detail


def test_what_a_mask_leaves_has_the_quality_that_was_asked_for(port: int, worker: FakeWorker) -> None:
    tables = []
    for quality in (20, 95):
        body = {
            "prompt": "a cat", "width": 64, "height": 64, "init_images": [IMAGE],
            "mask": base64_of(image_file()), "inpaint_full_res": False,
            "override_settings": {"samples_format": "jpg", "jpeg_quality": quality},
        }  # fmt: skip
        answer, told = call(port, "POST", "/sdapi/v1/img2img", body)
        assert answer.status == 200, told
        with Image.open(io.BytesIO(base64.b64decode(json.loads(told)["images"][0]))) as image:
            assert isinstance(image, JpegImageFile)
            tables.append(image.quantization[0])
    assert max(tables[0]) > max(tables[1])


def test_a_black_mask_is_refused(webui: WebUIApi) -> None:
    with pytest.raises(RuntimeError, match="nothing of the mask is white"):
        webui.img2img(images=[plain()], mask_image=Image.new("L", (64, 64)), prompt="a cat")


def test_without_a_size_an_image_keeps_its_own(port: int, worker: FakeWorker, services: Services) -> None:
    body = {"prompt": "a cat", "init_images": ["data:image/png;base64," + base64_of(image_file((100, 64)))]}
    answer, told = call(port, "POST", "/sdapi/v1/img2img", body | {"include_init_images": True})
    assert answer.status == 200
    assert spec_of(worker, services).width == 96
    assert json.loads(told)["parameters"]["init_images"] == body["init_images"]
    base64.b64decode(json.loads(told)["images"][0])
