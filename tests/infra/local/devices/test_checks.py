from collections.abc import Callable
from typing import Any

import pytest
import torch

from infra.local.checks import CannotStart
from infra.local.devices.checks import check_devices, describe_unused_gpus, is_without_cuda
from infra.local.devices.gpu_count import load_driver
from shared.settings import Settings

HAS_NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def never() -> int:
    raise AssertionError("GPUs were counted")


def counted(gpus: int) -> Callable[[], int]:
    return lambda: gpus


def test_on_a_cpu_nobody_counts_gpus() -> None:
    check_devices(Settings(unet_devices=("cpu", "cpu")), has_controlnets=True, count_gpus=never)


@HAS_NO_GPU
@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"device": "cuda"}, "SWIFT_DEVICE=cuda: "),
        ({"device": "cuda:1"}, "SWIFT_DEVICE=cuda:1: "),
        ({"device": "mps"}, "SWIFT_DEVICE=mps: "),
        ({"unet_devices": ("cpu", "cuda:1")}, "SWIFT_UNET_DEVICES=cpu,cuda:1: "),
        ({"controlnet_devices": ("cuda:0",)}, "SWIFT_CONTROLNET_DEVICES=cuda:0: "),
    ],
)
def test_a_device_that_is_not_here_stops_the_start(changes: dict[str, Any], setting: str) -> None:
    with pytest.raises(CannotStart) as caught:
        check_devices(Settings(**changes), has_controlnets=False)
    assert str(caught.value).startswith(setting)
    assert "\n" not in str(caught.value)


def test_a_gpu_beyond_those_that_torch_sees_is_named_with_its_setting(cuda: Any) -> None:
    with pytest.raises(CannotStart, match=r"SWIFT_UNET_DEVICES=cuda:0,cuda:2: torch .* sees 2 CUDA devices"):
        check_devices(
            Settings(unet_devices=("cuda:0", "cuda:2")), has_controlnets=False, count_gpus=counted(2)
        )
    here = Settings(unet_devices=("cuda:0",), controlnet_devices=("cuda:0",))
    check_devices(here, has_controlnets=True)


@pytest.mark.parametrize(
    ("gpus", "advice"),
    [
        (1, "1 GPU of this machine is not used: set SWIFT_UNET_DEVICES=cuda:0"),
        (3, "3 GPUs of this machine are not used: set SWIFT_UNET_DEVICES=cuda:0,cuda:1,cuda:2"),
    ],
)
def test_a_start_that_names_no_device_says_how_to_use_the_gpus(gpus: int, advice: str) -> None:
    said = describe_unused_gpus(Settings(), count_gpus=counted(gpus))
    assert said is not None
    assert said.startswith(advice)
    assert ("install torch for CUDA" in said) == is_without_cuda()


@pytest.mark.parametrize(
    "changes", [{"device": "cpu"}, {"unet_devices": ("cuda:0",)}, {"controlnet_devices": ("cpu",)}]
)
def test_who_has_named_a_device_is_told_nothing(changes: dict[str, Any]) -> None:
    settings = Settings(**changes)
    assert describe_unused_gpus(settings, count_gpus=never) is None


@pytest.mark.skipif(load_driver() is not None, reason="there is a driver")
def test_a_machine_without_a_gpu_is_told_nothing() -> None:
    assert describe_unused_gpus(Settings()) is None


def test_unet_workers_on_gpus_do_not_leave_controlnets_to_a_cpu_unnoticed() -> None:
    settings = Settings(unet_devices=("cuda:0", "cuda:1"), controlnet_workers=1)
    with pytest.raises(CannotStart) as caught:
        check_devices(settings, has_controlnets=True, count_gpus=never)
    said = str(caught.value)
    assert said.startswith("SWIFT_UNET_DEVICES=cuda:0,cuda:1: ControlNets would be computed on cpu")
    assert "set SWIFT_CONTROLNET_DEVICES too, to cuda:1" in said
    assert "SWIFT_CONTROLNET_WORKERS=0" in said


@HAS_NO_GPU
@pytest.mark.parametrize(
    "changes",
    [
        {"controlnet_devices": ("cpu",)},
        {"controlnet_devices": ("cuda:0",)},
        {"controlnet_workers": 0},
        {"device": "cuda:0"},
    ],
)
def test_who_has_said_where_controlnets_are_computed_is_believed(changes: dict[str, Any]) -> None:
    # What stops the start then is that this machine has no GPU
    with pytest.raises(CannotStart, match=r"built without CUDA|no NVIDIA driver|sees 0 CUDA devices"):
        check_devices(Settings(unet_devices=("cuda:0", "cuda:1"), **changes), has_controlnets=True)
