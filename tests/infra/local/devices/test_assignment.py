import os

from infra.local.devices.assignment import device_environment, worker_devices
from shared.settings import Settings


def test_a_list_of_devices_stands_for_a_worker_each() -> None:
    settings = Settings(unet_devices=("cuda:0", "cuda:1", "cuda:1"), controlnet_devices=("cpu",))
    assert worker_devices(settings) == {"unet": ("cuda:0", "cuda:1", "cuda:1"), "controlnet": ("cpu",)}


def test_without_a_list_all_workers_are_on_one_device() -> None:
    settings = Settings(device="cuda:2", unet_workers=2, controlnet_workers=0, unet_devices=())
    assert worker_devices(settings) == {"unet": ("cuda:2", "cuda:2"), "controlnet": ()}


def test_by_default_two_workers_share_a_cpu_of_several_cores_and_one_has_a_gpu() -> None:
    workers = 2 if len(os.sched_getaffinity(0)) > 1 else 1
    assert worker_devices(Settings()) == {"unet": ("cpu",) * workers, "controlnet": ()}
    assert worker_devices(Settings(device="cuda")) == {"unet": ("cuda",), "controlnet": ()}


def test_a_worker_is_told_of_its_own_gpu_alone_and_what_the_operator_calls_it() -> None:
    told = {"SWIFT_DEVICE": "cuda:0", "SWIFT_DEVICE_NAME": "cuda:1", "CUDA_VISIBLE_DEVICES": "1"}
    told["SWIFT_WORKERS_PER_DEVICE"] = "1"
    assert device_environment("cuda:1", None) == told
    assert device_environment("cuda:1", "GPU-aa,GPU-bb") == {**told, "CUDA_VISIBLE_DEVICES": "GPU-bb"}
    assert device_environment("cpu", "0,1") == {"SWIFT_DEVICE": "cpu"}
