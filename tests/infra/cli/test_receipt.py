import io
import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from infra.cli.__main__ import main

RECEIPT = {"model": "emoji-sd", "seed": 7}


def drawn(**texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_the_receipt_of_a_picture_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "drawn.png"
    path.write_bytes(drawn(request="{}", receipt=json.dumps(RECEIPT), picture="0"))
    assert main(["receipt", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == RECEIPT


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no PNG"),
        (b"GIF89a", "no PNG"),
        (drawn()[:45], "broken"),
        (drawn(), "carries no receipt"),
        (drawn(receipt="{", request="{}"), "its receipt is no JSON"),
        (drawn(receipt="[]", request="{}"), "its receipt is no JSON object"),
    ],
    ids=["empty", "another format", "cut off", "no texts", "no JSON", "no object"],
)
def test_a_file_without_a_receipt_is_refused_by_its_name(
    data: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.png"
    path.write_bytes(data)
    assert main(["receipt", str(path)]) == 1
    said = capsys.readouterr().err
    assert "other.png" in said
    assert told in said
