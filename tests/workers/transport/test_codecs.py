"""What a codec loses is bounded, whatever the residual."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shared.jobs.options import Precision
from tests.workers.transport.transport_ends import TransportEnds, noise
from workers.transport.codecs import as_sent, coded_bytes, encode

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SHAPES = st.lists(st.integers(1, 6), min_size=2, max_size=4)


def residual(dtype: torch.dtype, shape: list[int], seed: int, size: float) -> Tensor:
    return noise(*shape, seed=seed).mul(size).to(dtype)


@given(st.sampled_from(DTYPES), SHAPES, st.integers(0, 99), st.sampled_from([1e-6, 1.0, 1e3]))
def test_int8_is_off_by_at_most_half_a_step_of_its_channel(
    dtype: torch.dtype, shape: list[int], seed: int, size: float
) -> None:
    sent = residual(dtype, shape, seed, size)
    steps = sent.float().flatten(2).abs().amax(2) / 127 if sent.dim() > 2 else sent.float().abs() / 127
    off = (as_sent(sent, "int8").float() - sent.float()).abs().reshape(shape[0], shape[1], -1).amax(2)
    rounding = 2 * torch.finfo(dtype).eps * sent.float().abs().max() + torch.finfo(dtype).tiny
    assert bool((off <= 0.5001 * steps.reshape(shape[0], shape[1]) + rounding).all())


@given(st.sampled_from(DTYPES), SHAPES, st.integers(0, 99))
def test_float16_rounds_once(dtype: torch.dtype, shape: list[int], seed: int) -> None:
    sent = residual(dtype, shape, seed, 1.0)
    wanted = sent if dtype.itemsize <= 2 else sent.half().to(dtype)
    assert torch.equal(as_sent(sent, "float16"), wanted)


@given(st.sampled_from(DTYPES), SHAPES, st.sampled_from(["exact", "float16", "int8"]))
def test_the_size_of_a_coded_residual_is_known_in_advance(
    dtype: torch.dtype, shape: list[int], precision: Precision
) -> None:
    assert encode(residual(dtype, shape, 1, 1.0), precision).nbytes == coded_bytes(dtype, shape, precision)


def test_float16_saturates_at_its_largest_number() -> None:
    sent = torch.tensor([[1e9, -1e9]])
    assert as_sent(sent, "float16").tolist() == [[65504.0, -65504.0]]


def test_a_channel_of_zeros_stays_zero() -> None:
    assert torch.equal(as_sent(torch.zeros(2, 3, 4, 4), "int8"), torch.zeros(2, 3, 4, 4))


def test_a_nan_stays_a_nan() -> None:
    sent = torch.zeros(1, 2, 2, 2)
    sent[0, 1, 0, 0] = torch.nan
    assert as_sent(sent, "int8").isnan().flatten(1).any(1).tolist() == [True]
    assert not as_sent(sent, "int8")[0, 0].isnan().any()


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 64, 99, 99)])
def test_a_coded_residual_arrives_with_the_loss_of_its_codec_and_no_other(
    ends: TransportEnds, shape: tuple[int, ...], precision: Precision
) -> None:
    sent = noise(*shape)
    received = ends.transfer(ends.send_step(residual_precision=precision), sent)
    assert torch.equal(received, as_sent(sent, precision))
    assert not torch.equal(received, sent)
