import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infra.cli.images.image_file import read_image
from shared.image_files.formats import OUTPUT_FORMATS, OutputFormat
from shared.jobs.legacy_receipt import LegacyReceipt
from shared.jobs.receipt import Receipt
from shared.jobs.spec import JobSpec
from tests.samples.old_versions import old_receipt
from workers.unet.output.image_files import encode_image, encoder_versions


def gradient() -> Image.Image:
    return Image.merge("RGB", [Image.linear_gradient("L").resize((64, 64))] * 3)


def receipt(output_format: OutputFormat = "png", **changes: Any) -> Receipt:
    read = LegacyReceipt.model_validate(old_receipt(2)).upgraded()
    spec = read.spec.model_copy(update={"output_format": output_format, **changes})
    return read.model_copy(update={"spec": spec, "encoder": encoder_versions(output_format)}).sealed()


def test_a_png_carries_request_receipt_and_index() -> None:
    with Image.open(io.BytesIO(encode_image(gradient(), receipt(), 2))) as image:
        image.load()
        assert image.format == "PNG"
        assert image.info["index"] == "2"
        assert Receipt.model_validate_json(image.info["receipt"]) == receipt()
        assert JobSpec.model_validate_json(image.info["request"]) == receipt().spec


def test_a_png_carries_no_field_of_lossy_formats_so_that_its_file_stays_the_same() -> None:
    with Image.open(io.BytesIO(encode_image(gradient(), receipt(), 0))) as image:
        image.load()
        for text in ("request", "receipt"):
            for field in ("output_format", "output_quality", "encoder"):
                assert f'"{field}"' not in image.info[text]


@pytest.mark.parametrize("prompt", ["a cat", 'A & "B" <c> ]]> \x07 \ud7ff\uffff 猫 🐈', "猫" * 10_000])
@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
def test_every_format_carries_any_receipt_and_the_image_s_index(
    output_format: OutputFormat, prompt: str, tmp_path: Path
) -> None:
    written = receipt(output_format, prompt=prompt, output_quality=None if output_format == "png" else 80)
    path = tmp_path / "image"
    path.write_bytes(encode_image(gradient(), written, 3))
    image = read_image(path)
    assert image.image.format == output_format.upper()
    assert image.index == 3
    read = Receipt.model_validate_json(json.dumps(image.receipt))
    assert read == written
    assert not read.is_edited()
    assert JobSpec.model_validate_json(json.dumps(image.request)) == written.spec


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_a_lower_quality_is_a_smaller_file_and_each_is_the_same_again(output_format: OutputFormat) -> None:
    small, large = (
        [encode_image(gradient(), receipt(output_format, output_quality=quality), 0) for _ in range(2)]
        for quality in (1, 100)
    )
    assert small[0] == small[1]
    assert large[0] == large[1]
    assert len(small[0]) < len(large[0])


def test_the_encoder_of_lossy_formats_is_known_by_its_versions() -> None:
    assert encoder_versions("png") == {}
    assert set(encoder_versions("webp")) == {"pillow", "webp"}
    assert "pillow" in encoder_versions("jpeg")
