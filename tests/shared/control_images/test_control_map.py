import io

import numpy as np
import pytest
from PIL import Image

from shared.catalog.preprocessors import NONE, fill_in
from shared.control_images.control_map import control_map_of
from shared.control_images.preprocessors import compute_control_map
from tests.api.services import image_file


@pytest.mark.parametrize("size", [(64, 64), (96, 48), (16, 24)])
def test_an_image_is_resized_before_its_map_is_computed(size: tuple[int, int]) -> None:
    png = image_file((64, 64))
    with Image.open(io.BytesIO(png)) as image:
        resized = image.resize(size, Image.Resampling.LANCZOS)
    options = fill_in("canny", {"low_threshold": 1, "high_threshold": 2})
    control_map = control_map_of(png, "canny", options, size=size)
    assert control_map == compute_control_map(resized, "canny", options)
    # And without a preprocessor that is all
    with Image.open(io.BytesIO(control_map_of(png, NONE, {}, size=size))) as plain:
        assert np.array_equal(np.asarray(plain), np.asarray(resized))
