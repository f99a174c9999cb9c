"""Answers with images in base64 that are sent while they are read."""

import base64
import io
import json

import pytest
from flask import Flask
from pydantic import BaseModel

from api.compat.image_json import PIECE_BYTES, ImageFile, file_of, image_json, stored_files
from api.services import Services
from shared.errors import NotFound


class Body(BaseModel):
    prompt: str
    images: list[str]


def answer(files: list[ImageFile]) -> bytes:
    with Flask("test").test_request_context():
        response = image_json(files, lambda texts: Body(prompt='a "cat"', images=texts))
        sent = b"".join(response.iter_encoded())
        assert response.content_length == len(sent)
        assert response.cache_control.no_transform
        response.close()
        return sent


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1000, PIECE_BYTES + 1])
def test_an_answer_is_that_of_json_with_base64(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    expected = Body(prompt='a "cat"', images=[base64.b64encode(data).decode()] * 2)
    assert json.loads(answer([file_of(data), file_of(data)])) == expected.model_dump()


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 5, 1000])
def test_pieces_may_have_any_length(piece_bytes: int) -> None:
    data = bytes(range(200))
    file = io.BytesIO(data)
    sent = answer([ImageFile(len(data), lambda _: file.read(piece_bytes))])
    assert json.loads(sent)["images"] == [base64.b64encode(data).decode()]


def test_without_images_an_answer_is_plain_json() -> None:
    assert json.loads(answer([])) == {"prompt": 'a "cat"', "images": []}


KEYS = ["images/a.png", "images/b.png", "images/c.png"]


@pytest.fixture
def stored(services: Services) -> dict[str, bytes]:
    data = dict(zip(KEYS, (b"first", b"second" * PIECE_BYTES, b"third"), strict=True))
    for key, file in data.items():
        services.images.put(key, file, content_type="image/png")
    return data


def test_stored_images_are_read_while_they_are_sent(services: Services, stored: dict[str, bytes]) -> None:
    sent = json.loads(answer(stored_files(services.images, KEYS)))["images"]
    assert [base64.b64decode(text) for text in sent] == list(stored.values())


@pytest.mark.parametrize("key", KEYS)
def test_an_image_that_is_gone_is_told_before_anything_is_sent(
    key: str, services: Services, stored: dict[str, bytes]
) -> None:
    services.images.delete(key)
    with pytest.raises(NotFound):
        stored_files(services.images, KEYS)
