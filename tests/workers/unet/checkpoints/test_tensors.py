"""Tensors survive as bytes with their numbers and the order in which these lie in memory."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.fake_device import FakeDevice
from workers.devices.selection import find_device
from workers.unet.checkpoints.tensors import TensorCopies, TensorLayout, unpack_tensors

CPU = find_device("cpu")
IMAGES = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))


def restored(*tensors: Tensor) -> list[Tensor]:
    copies = TensorCopies(CPU)
    for tensor in tensors:
        copies.add(tensor)
    layouts, data = copies.pack()
    return unpack_tensors(layouts, memoryview(data), CPU)


@pytest.mark.parametrize(
    "tensor",
    [
        IMAGES,
        IMAGES.to(memory_format=torch.channels_last),
        IMAGES.transpose(0, 3),
        IMAGES.bfloat16(),
        IMAGES.double(),
        IMAGES > 0,
        torch.tensor(7),
        torch.empty(0, 3),
        torch.Generator().manual_seed(3).get_state(),
    ],
)
def test_a_tensor_comes_back_with_its_strides(tensor: Tensor) -> None:
    found = restored(tensor)[0]
    assert torch.equal(found, tensor)
    assert (found.dtype, found.stride()) == (tensor.dtype, tensor.stride())


@pytest.mark.parametrize("tensor", [IMAGES[:, ::2], IMAGES[:1].expand(2, -1, -1, -1)])
def test_a_tensor_with_gaps_comes_back_contiguous(tensor: Tensor) -> None:
    found = restored(tensor)[0]
    assert torch.equal(found, tensor)
    assert found.is_contiguous()


def test_a_tensor_that_is_kept_twice_is_stored_once() -> None:
    copies = TensorCopies(CPU)
    assert [copies.add(one) for one in (IMAGES, torch.ones(1), IMAGES)] == [0, 1, 0]
    assert copies.size_bytes == IMAGES.nbytes + 4


def test_packing_waits_for_an_asynchronous_device() -> None:
    device = FakeDevice()
    copies = TensorCopies(device)
    copies.add(IMAGES)
    layouts, data = copies.pack()
    assert torch.equal(unpack_tensors(layouts, memoryview(data), CPU)[0], IMAGES)


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "complex64"},
        {"shape": [2, 4, 3, 6]},
        {"shape": [-2, 4, 3, 5]},
        {"stride": [60, 15, 5, 2]},
        {"stride": [0, 0, 0, 0]},
        {"shape": [1]},
        {"shape": [], "stride": []},
    ],
)
def test_a_layout_that_does_not_fit_the_bytes_is_refused(changes: dict[str, object]) -> None:
    copies = TensorCopies(CPU)
    copies.add(IMAGES)
    layouts, data = copies.pack()
    with pytest.raises(ValueError, match=r"dtype|lie in memory|bytes"):
        unpack_tensors([layouts[0].model_copy(update=changes)], memoryview(data), CPU)


@pytest.mark.parametrize("changes", [{"shape": [0, 1 << 70]}, {"stride": [1 << 70, 1]}])
def test_a_layout_of_sides_that_torch_cannot_multiply_is_invalid(changes: dict[str, object]) -> None:
    fields = {"dtype": "float32", "shape": [0, 1], "stride": [1, 1], "is_on_device": False}
    with pytest.raises(ValidationError):
        TensorLayout.model_validate(fields | changes)
