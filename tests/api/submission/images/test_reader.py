"""Images of requests: sent, or named by the hash under which they are stored."""

import pytest

from api.services import Services
from api.submission.images.reader import ImageReader
from api.submission.store import store_images
from shared.errors import InvalidImage
from shared.keys import LOCAL, control_key
from tests.api.services import base64_of, image_file


def test_a_stored_image_is_named_in_either_case(services: Services) -> None:
    reader = ImageReader(services, LOCAL)
    sha256 = reader.read(base64_of(image_file()), field="image").sha256
    store_images(reader.pngs, services.images, LOCAL)
    for name in (f"sha256:{sha256}", f"SHA256:{sha256.upper()}", f" sha256:{sha256}\n"):
        again = ImageReader(services, LOCAL)
        assert again.read(name, field="image") == (sha256, 64, 64)
        assert again.pngs == reader.pngs


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://example.com/apple.png", "URLs are not fetched"),
        ("HTTP://example.com", "URLs are not fetched"),
        ("file:///home/me/apple.png", "URLs are not fetched"),
        ("s3://images/apple", "URLs are not fetched"),
        ("apple.png", "files are not read from a path"),
        ("/home/me/my apple.JPEG", "files are not read from a path"),
        ("C:\\apples\\apple.webp", "files are not read from a path"),
        ("sha256:abc", "64 hexadecimal digits"),
    ],
)
def test_what_is_no_image_but_names_one_is_explained(text: str, told: str, services: Services) -> None:
    with pytest.raises(InvalidImage, match=told):
        ImageReader(services, LOCAL).read(text, field="image")


def test_equal_images_are_stored_once(services: Services) -> None:
    reader = ImageReader(services, LOCAL)
    first, again = (
        reader.read(base64_of(image_file()), field=field).sha256 for field in ("image", "mask_image")
    )
    assert first == again
    for _ in range(2):
        store_images(reader.pngs, services.images, LOCAL)
    assert [stat.key for stat in services.images.list()] == [control_key(first, tenant=LOCAL)]
