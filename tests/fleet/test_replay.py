"""A receipt reproduces its image: over REST, and with the console script."""

import hashlib
import io
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from infra.cli.__main__ import main
from tests.fleet.conftest import Client, control_image
from tests.tiny_models import EMOJI


def put_unseen_lora(fleet: Client) -> str:
    """A real LoRA under a name that no cache of the fleet has seen."""
    name = f"late-{uuid.uuid4().hex[:6]}"
    fleet.put_lora(name, (EMOJI / "loras" / "outline.safetensors").read_bytes())
    return name


def png(fleet: Client, job: dict[str, Any], index: int = 0) -> bytes:
    return fleet.get(job["images"][index]["url"]).content


def replay(fleet: Client, job: dict[str, Any]) -> dict[str, Any]:
    answer = fleet.post({"receipt": job["receipt"]})
    assert answer.status_code == 202, answer.text
    replayed = fleet.wait(answer.json()["id"])
    assert replayed["status"] == "succeeded", replayed["error"]
    return replayed


def verify(fleet: Client, path: Path) -> int:
    return main(["verify", str(path), "--api", fleet.stack.api_url])


def test_a_bounded_image_is_generated_again_from_its_receipt(fleet: Client) -> None:
    # Given an image whose LoRA was on its way while the first steps were generated
    job = fleet.generate(
        loras=[{"name": put_unseen_lora(fleet), "scale": 0.8}],
        controlnets=[control_image()],
        num_inference_steps=10,
        num_images=2,
        lora_loading={"mode": "bounded", "max_async_steps": 5},
    )
    # When its receipt is generated again, and that image's once more
    replayed = replay(fleet, job)
    twice = replay(fleet, replayed)
    # Then all are the same, to the last byte of the file
    for other in (replayed, twice):
        assert [image["sha256"] for image in other["images"]] == [i["sha256"] for i in job["images"]]
        assert other["receipt"] == job["receipt"]
        assert other["warnings"] == []
    assert replayed["request"]["lora_loading"]["mode"] == "replay"


def test_a_weighted_prompt_and_the_lora_that_it_names_are_replayed(fleet: Client) -> None:
    name = put_unseen_lora(fleet)
    texts = {"prompt": f"a (penguin:1.4)<lora:{name}:0.8> BREAK [teal]", "negative_prompt": "(blue:0.5)"}
    job = fleet.generate(**texts, prompt_syntax="a1111")
    asked = job["request"]
    assert (asked["prompt"], asked["prompt_syntax"]) == ("a (penguin:1.4) BREAK [teal]", "a1111")
    assert [(lora["name"], lora["scale"]) for lora in asked["loras"]] == [(name, 0.8)]
    replayed = replay(fleet, job)
    assert replayed["images"][0]["sha256"] == job["images"][0]["sha256"]
    assert replayed["receipt"] == job["receipt"]


def test_the_map_of_a_preprocessor_is_served_and_replayed(fleet: Client) -> None:
    job = fleet.generate(controlnets=[control_image(preprocessor="canny")])
    [controlnet] = job["controlnets"]
    shown = Image.open(io.BytesIO(fleet.get(controlnet["map_url"]).content))
    assert shown.size == (64, 64)
    assert shown.getextrema() == ((0, 255),) * 3
    assert fleet.get(controlnet["image_url"]).content != fleet.get(controlnet["map_url"]).content
    replayed = replay(fleet, job)
    assert replayed["images"][0]["sha256"] == job["images"][0]["sha256"]
    assert "canny" not in [span["name"] for span in replayed["timeline"]]


def test_verify_finds_every_image_of_a_batch_equal(
    fleet: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = fleet.generate(num_images=2, scheduler="euler_a")
    path = tmp_path / "second.png"
    path.write_bytes(png(fleet, job, 1))
    assert verify(fleet, path) == 0
    assert capsys.readouterr().out == "Equal: all 64 x 64 pixels are the same, and so is the whole file\n"


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_a_lossy_image_is_generated_again_as_the_same_file(
    output_format: str, fleet: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = fleet.generate(num_images=2, output_format=output_format, output_quality=70)
    path = tmp_path / f"second.{output_format}"
    path.write_bytes(png(fleet, job, 1))
    with Image.open(path) as image:
        assert image.format == output_format.upper()
    assert verify(fleet, path) == 0
    assert capsys.readouterr().out == "Equal: all 64 x 64 pixels are the same, and so is the whole file\n"


def test_verify_tells_pixels_from_the_file_around_them(
    fleet: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image.png"
    resave(png(fleet, fleet.generate()), path, red=None)
    assert verify(fleet, path) == 0
    assert "the file around them is not" in capsys.readouterr().out


def test_verify_says_how_far_a_changed_image_is(
    fleet: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image.png"
    resave(png(fleet, fleet.generate()), path, red=5)
    assert verify(fleet, path) == 1
    assert "Different: 0.02% of 64 x 64 pixels, by at most 5 of 255, PSNR 75.0 dB" in capsys.readouterr().out


def test_verify_names_a_lora_whose_bytes_changed(
    fleet: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = put_unseen_lora(fleet)
    job = fleet.generate(loras=[{"name": name}])
    path = tmp_path / "image.png"
    path.write_bytes(png(fleet, job))
    other = (EMOJI / "loras" / "twemoji.safetensors").read_bytes()
    fleet.put_lora(name, other)
    assert verify(fleet, path) == 1
    said = capsys.readouterr().err
    was = job["receipt"]["loras"][0]["sha256"]
    for word in ("receipt_mismatch", name, was, hashlib.sha256(other).hexdigest()):
        assert word in said
    # And once the bytes are back, under whatever ETag, the image is equal
    fleet.put_lora(name, (EMOJI / "loras" / "outline.safetensors").read_bytes())
    assert verify(fleet, path) == 0


def test_the_console_script_says_when_no_fleet_answers(tmp_path: Path, fleet: Client) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(png(fleet, fleet.generate()))
    script = Path(sys.executable).parent / "swiftdiffusion"
    words = [str(script), "verify", str(path), "--api", "http://127.0.0.1:9"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "no answer from http://127.0.0.1:9" in ended.stderr


def resave(data: bytes, path: Path, *, red: int | None) -> None:
    """Save an image again, with its texts; ``red`` moves one pixel so far."""
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, PngImageFile)
    info = PngInfo()
    for name, text in image.text.items():
        info.add_itxt(name, text)
    changed = image.copy()
    if red is not None:
        r, g, b = changed.getpixel((3, 4))  # type: ignore[misc]
        changed.putpixel((3, 4), (r + red if r < 128 else r - red, g, b))
    changed.save(path, compress_level=0, pnginfo=info)
