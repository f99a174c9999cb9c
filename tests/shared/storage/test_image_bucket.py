"""Control images are taken back only by whom nobody has followed, over real Redis and real S3."""

import pytest
from redis import Redis

from shared import keys
from shared.errors import Unavailable
from shared.settings import Settings
from shared.storage.image_bucket import ImageBucket

KEY = keys.control_key("ab" * 32, "acme")


@pytest.fixture
def images(servers: Settings, control: Redis) -> ImageBucket:
    control.flushdb()
    bucket = ImageBucket(servers.model_copy(update={"image_bucket": "taken-back"}), control)
    bucket.ready()
    for stat in list(bucket.list()):
        bucket.delete(stat.key)
    return bucket


def add(images: ImageBucket) -> dict[str, str]:
    added = images.add(KEY, b"png")
    return {} if added is None else {KEY: added}


def test_an_image_of_nobody_else_is_discarded(images: ImageBucket, control: Redis) -> None:
    added = add(images)
    assert images.get(KEY) == b"png"
    assert add(images) == {}
    images.discard(added)  # it was read since
    assert images.exists(KEY)
    images.delete(KEY)
    control.delete(keys.CONTROL_IMAGES)
    images.discard(add(images))
    assert list(images.list()) == []
    assert control.zcard(keys.CONTROL_IMAGES) == control.zcard(keys.CONTROL_IMAGES_DELETED) == 0


def test_of_two_who_add_one_image_neither_takes_it_from_the_other(images: ImageBucket) -> None:
    first = add(images)
    second = add(images)
    images.discard(second)
    assert images.exists(KEY)
    images.discard(first)
    assert images.exists(KEY)


def test_an_image_that_was_there_is_not_discarded(images: ImageBucket, control: Redis) -> None:
    images.put(KEY, b"png", content_type="image/png")
    control.delete(keys.CONTROL_IMAGES)  # as of a version that did not note uses
    images.discard(add(images))
    assert images.exists(KEY)


def test_an_image_that_is_being_deleted_is_not_added(images: ImageBucket, control: Redis) -> None:
    control.zadd(keys.CONTROL_IMAGES_DELETED, {str(keys.control_name(KEY)): 1.0})
    with pytest.raises(Unavailable, match="being deleted"):
        images.add(KEY, b"png")
