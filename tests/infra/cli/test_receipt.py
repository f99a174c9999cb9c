import io
import json
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from infra.cli.__main__ import main
from infra.cli.images.image_file import read_image
from tests.samples.old_versions import FOLDER, old_receipt

RECEIPT = {"model": "emoji-sd", "seed": 7}


def photograph() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()


def bomb() -> bytes:
    """An image whose header promises more pixels than anyone decodes."""
    head = struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    crc = zlib.crc32(b"IHDR" + head)
    data = generated(receipt="{}", request="{}")
    return data[:8] + struct.pack(">I4s13sI", 13, b"IHDR", head, crc) + data[33:]


def generated(**texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_the_receipt_of_an_image_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "apple.png"
    path.write_bytes(generated(request="{}", receipt=json.dumps(RECEIPT), index="0"))
    assert main(["receipt", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == RECEIPT


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no PNG"),
        (b"GIF89a", "no PNG"),
        (photograph(), "carries no receipt"),
        (bomb(), "exceeds limit"),
        (generated()[:45], "broken"),
        (generated(), "carries no receipt"),
        (generated(receipt="{", request="{}"), "its receipt is no JSON"),
        (generated(receipt="[]", request="{}"), "its receipt is no JSON object"),
        (generated(receipt="[" * 100_000, request="{}"), "its receipt is no JSON"),
        (generated(receipt="{}", request="{}", index="9" * 5000), "its index within the job"),
    ],
    ids=[
        *["empty", "another format", "photograph", "bomb", "cut off"],
        *["no texts", "no JSON", "no object", "deep", "long index"],
    ],
)
def test_a_file_without_a_receipt_is_refused_by_its_name(
    data: bytes, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.png"
    path.write_bytes(data)
    assert main(["receipt", str(path)]) == 1
    error = capsys.readouterr().err
    assert "other.png" in error
    assert "BytesIO" not in error
    assert reason in error


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["receipt", "/proc/self/mem"]) == 1  # a file, of which even root cannot read the beginning
    assert "/proc/self/mem is no PNG, JPEG or WebP, or a broken one: [Errno 5]" in capsys.readouterr().err


@pytest.mark.parametrize("chunk", ["index", "picture"])
def test_the_index_is_read_from_both_names_of_its_text_chunk(chunk: str, tmp_path: Path) -> None:
    path = tmp_path / "third.png"
    path.write_bytes(generated(request="{}", receipt="{}", **{chunk: "2"}))
    assert read_image(path).index == 2


@pytest.mark.parametrize("version", [1, 2])
def test_the_receipt_of_an_image_of_version_0_1_is_printed(
    version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["receipt", str(FOLDER / f"format_{version}.png")]) == 0
    assert json.loads(capsys.readouterr().out) == old_receipt(version)
