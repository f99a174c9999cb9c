import json
import os
import subprocess
import sys
from typing import Any

import pytest

from shared.errors import InvalidSetting
from shared.settings import ROOT, Settings
from workers.devices.visible import hide_other_gpus, show_only

#: Hides what the first argument says, and prints what is left.
HIDE = """
import json, os, sys
from shared.settings import Settings
from workers.devices.visible import hide_other_gpus
settings = hide_other_gpus(Settings(device=sys.argv[1]))
print(json.dumps([settings.device, settings.device_name, os.environ["CUDA_VISIBLE_DEVICES"]]))
"""
#: Imports a module, and prints what was asked of CUDA while this process could still see all GPUs. It ends
#: at the first question, or at the first import after the other GPUs were hidden: it need not load the rest.
#: On a machine without a GPU diffusers asks torch.accelerator, which asks CUDA elsewhere.
IMPORT = """
import importlib, os, sys
import torch
def end(*asked):
    print(*asked, flush=True)
    os._exit(0)
def ask(name):
    return False if "CUDA_VISIBLE_DEVICES" in os.environ else end("asked", name)
class AfterHiding:
    def find_spec(self, *_):
        if "CUDA_VISIBLE_DEVICES" in os.environ:
            end("hidden")
for module, names in (
    (torch.cuda, ("is_available", "device_count", "init", "current_device", "get_device_properties")),
    (torch.accelerator, ("is_available", "current_accelerator", "device_count")),
):
    for name in names:
        setattr(module, name, lambda *_, name=name, **__: ask(name))
sys.meta_path.insert(0, AfterHiding())
importlib.import_module(sys.argv[1])
end("neither")
"""
#: Computes and pins memory in a new thread, and prints which GPUs this process sees.
COMPUTE = """
import json, sys, threading
from shared.settings import Settings
from workers.devices.visible import hide_other_gpus
settings = hide_other_gpus(Settings(device=sys.argv[1]))
import torch
def compute():
    pinned = torch.zeros(8, pin_memory=True)
    assert pinned.to(settings.device).device == torch.device("cuda:0")
thread = threading.Thread(target=compute)
thread.start()
thread.join()
print(json.dumps([str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]))
"""


def run(program: str, *words: str, **variables: str) -> str:
    environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *words],
        cwd=ROOT,
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    ("device", "visible", "shown"),
    [
        ("cuda", None, "0"),
        ("cuda:3", None, "3"),
        ("cuda:1", "4,5", "5"),
        ("cuda:1", "GPU-aa, GPU-bb", "GPU-bb"),
        ("cuda:0", "MIG-cc", "MIG-cc"),
        ("cuda:0", "2,-1,3", "2"),
    ],
)
def test_one_gpu_is_shown_by_the_name_that_cuda_has_for_it(
    device: str, visible: str | None, shown: str
) -> None:
    assert show_only(device, visible) == shown


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("2", 1), ("2,-1,3", 1), ("-1", 0)])
def test_a_gpu_that_was_hidden_from_this_process_is_refused(visible: str, count: int) -> None:
    with pytest.raises(InvalidSetting) as caught:
        show_only("cuda:1", visible)
    assert str(caught.value) == f"SWIFT_DEVICE=cuda:1: CUDA_VISIBLE_DEVICES={visible!r} shows {count} GPUs"


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_a_worker_without_a_gpu_goes_on_as_it_was(device: str) -> None:
    settings = Settings(device=device)
    assert hide_other_gpus(settings) is settings


def test_a_worker_sees_its_own_gpu_alone_and_keeps_the_name_that_was_written() -> None:
    assert json.loads(run(HIDE, "cuda:1")) == ["cuda:0", "cuda:1", "1"]
    assert json.loads(run(HIDE, "cuda", CUDA_VISIBLE_DEVICES="GPU-aa,GPU-bb")) == ["cuda:0", "cuda", "GPU-aa"]


@pytest.mark.parametrize(
    ("module", "first"),
    [("workers.unet.app", "hidden"), ("workers.controlnet.app", "hidden"), ("diffusers", "asked")],
)
def test_a_worker_hides_other_gpus_before_an_import_asks_cuda(module: str, first: str) -> None:
    """Else CUDA has read its environment before; and diffusers does ask, when it is imported."""
    assert run(IMPORT, module, SWIFT_DEVICE="cuda:0").split()[0] == first


def test_a_thread_of_a_worker_opens_a_context_on_its_own_gpu_alone(cuda: Any) -> None:
    import torch

    last = torch.cuda.device_count() - 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    seen = json.loads(run(COMPUTE, f"cuda:{last}", **variables))
    assert seen == [str(torch.cuda.get_device_properties(last).uuid)]
