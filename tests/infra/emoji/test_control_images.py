"""Edge maps and colour maps: what the two ControlNets read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.emoji.training.data.canvas import SIDE_PX, flat, paste, to_image
from infra.emoji.training.data.colour_maps import cells, colour_map, recolour
from infra.emoji.training.data.edge_maps import edge_map, line_drawing
from infra.emoji.training.data.emoji_sets import Floats
from infra.emoji.training.evaluate.scores import edge_f1

CONTROL = Path("infra/emoji/control")


@pytest.fixture
def square() -> Floats:
    """A red square of 20 pixels in the middle of a white image."""
    sprite = np.zeros((20, 20, 4), np.float32)
    sprite[..., 0] = sprite[..., 3] = 1
    return paste(sprite, flat((255, 255, 255)))


def test_the_edges_of_a_square_are_its_outline(square: Floats) -> None:
    edges = edge_map(square)
    assert set(np.unique(edges)) == {0.0, 1.0}
    assert not edges[26:38, 26:38].any()  # nothing inside
    assert edges[32, 20:24].any()
    assert edges[32, 40:44].any()
    assert not edges[:20].any()


def test_a_flat_image_has_no_edges() -> None:
    assert not edge_map(flat((52, 104, 216))).any()


def test_a_line_drawing_is_dark_on_light_and_light_on_dark(square: Floats) -> None:
    white, black = flat((255, 255, 255)), flat((24, 24, 28))
    assert line_drawing(square, white).min() < 0.3
    assert line_drawing(square, black).max() > 0.7


@pytest.mark.parametrize("file", sorted(CONTROL.glob("[0-9]_*.png")), ids=lambda file: file.stem)
def test_a_shipped_edge_map_is_thin_white_on_black(file: Path) -> None:
    edges = np.asarray(Image.open(file).convert("RGB"))
    assert edges.shape == (SIDE_PX, SIDE_PX, 3)
    assert set(np.unique(edges)) == {0, 255}
    assert 0.02 < (edges == 255).mean() < 0.25


def test_edges_score_full_against_their_own_map_and_less_when_moved(square: Floats) -> None:
    wanted = edge_map(square)
    assert edge_f1(square, wanted) == pytest.approx(1)
    assert edge_f1(np.roll(square, 5, axis=1), wanted) < 0.7
    assert edge_f1(flat((0, 0, 0)), wanted) == 0


def test_a_colour_map_is_flat_within_its_cells_and_keeps_their_means() -> None:
    image = np.random.default_rng(0).random((SIDE_PX, SIDE_PX, 3), np.float32)
    flattened = colour_map(image)
    assert np.ptp(flattened[:8, :8], axis=(0, 1)).max() == 0
    np.testing.assert_allclose(cells(flattened), cells(image), rtol=1e-5)


def test_recolouring_a_sprite_keeps_its_shape() -> None:
    sprite = np.random.default_rng(0).random((10, 10, 4), np.float32)
    other = recolour(sprite, np.random.default_rng(2))
    np.testing.assert_array_equal(other[..., 3], sprite[..., 3])
    np.testing.assert_array_equal(np.sort(other[..., :3]), np.sort(sprite[..., :3]))
    assert not np.array_equal(other, sprite)


def test_a_sprite_pasted_over_the_rim_is_cut() -> None:
    sprite = np.ones((20, 20, 4), np.float32)
    image = paste(sprite, flat((0, 0, 0)), dx=30)
    assert image[:, -12:].any()
    assert image.sum() == 20 * 12 * 3
    assert to_image(image).size == (SIDE_PX, SIDE_PX)
