"""Control maps by each preprocessor."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.catalog.preprocessors import NONE, PREPROCESSORS, fill_in
from shared.control_images.preprocessors import compute_control_map
from tests.tiny_models import EMOJI


def a_square() -> Image.Image:
    """A black square's outline on white, 2 pixels wide, one side of it red."""
    image = np.full((32, 48, 3), 255, np.uint8)
    image[8:24, 8:10] = image[8:10, 8:24] = image[22:24, 8:24] = 0
    image[8:24, 22:24] = (255, 0, 0)
    return Image.fromarray(image)


def map_of(image: Image.Image, name: str, **options: float) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(compute_control_map(image, name, fill_in(name, options)))))


@pytest.mark.parametrize("name", sorted(PREPROCESSORS.keys() - {NONE}))
def test_a_control_map_has_the_size_of_its_image_and_other_pixels(name: str) -> None:
    control_map = map_of(a_square(), name)
    assert (control_map.dtype, control_map.shape) == (np.uint8, (32, 48, 3))
    assert not np.array_equal(control_map, np.asarray(a_square()))


@pytest.mark.parametrize("name", sorted(PREPROCESSORS.keys() - {NONE}))
def test_a_uniform_image_has_no_lines(name: str) -> None:
    grey = Image.new("RGB", (16, 16), (128, 128, 128))
    control_map = map_of(grey, name)
    expected = {"tile_resample": 128, "blur_gaussian": 128, "invert": 127, "threshold": 255}.get(name, 0)
    assert (control_map == expected).all()


def test_canny_is_opencvs_and_its_thresholds_matter() -> None:
    with Image.open(EMOJI / "images" / "samples.png") as sheet:
        image = sheet.convert("RGB").crop((0, 0, 256, 256))
    counts = []
    for low, high in ((20, 60), (100, 200), (250, 255)):
        control_map = map_of(image, "canny", low_threshold=low, high_threshold=high)
        assert np.array_equal(control_map[..., 0], cv2.Canny(np.asarray(image), low, high))
        assert set(np.unique(control_map)) <= {0, 255}
        counts.append(int((control_map[..., 0] > 0).sum()))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > 0


@pytest.mark.parametrize("name", ["lineart_standard", "scribble_xdog", "invert"])
def test_preprocessors_turn_dark_lines_light(name: str) -> None:
    control_map = map_of(a_square(), name)
    assert control_map[16, 8].min() > 100  # on the line
    assert control_map[2, 40].max() < 30  # on the paper


def test_a_higher_threshold_leaves_less_white() -> None:
    whites = [(map_of(a_square(), "threshold", threshold=t) == 255).sum() for t in (0, 254, 255)]
    assert whites[0] == whites[1] > whites[2] == 0
    # Red is dark: its darkest channel counts
    assert not map_of(a_square(), "threshold")[16, 22].any()


def test_more_blur_and_less_resolution_leave_less_detail() -> None:
    for name, option, small, large in (
        ("blur_gaussian", "sigma", 1, 8),
        ("tile_resample", "down_sampling_rate", 2, 8),
    ):
        details = [map_of(a_square(), name, **{option: value}).std() for value in (small, large)]
        assert np.asarray(a_square()).std() > details[0] > details[1]
    assert np.array_equal(map_of(a_square(), "tile_resample", down_sampling_rate=1), np.asarray(a_square()))
