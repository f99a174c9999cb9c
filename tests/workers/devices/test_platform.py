"""The platform of a process: what its bits depend on."""

from pathlib import Path

import pytest
import torch

from tests.fake_device import FakeDevice
from workers.devices.platform import describe_cpu, describe_platform
from workers.devices.selection import find_device


def test_the_platform_says_what_the_bits_of_a_cpu_depend_on() -> None:
    platform = describe_platform(find_device("cpu"))
    assert (platform.device, platform.accelerator) == ("cpu", {})
    assert platform.threads == torch.get_num_threads()
    assert torch.backends.cpu.get_cpu_capability() in platform.processor
    assert platform.versions["torch"]


def test_what_a_gpu_computes_does_not_depend_on_the_cpu() -> None:
    cpu = describe_platform(find_device("cpu"))
    gpu = cpu.model_copy(update={"device": "cuda", "accelerator": {"name": "a card"}})
    other_cpu = {"threads": cpu.threads + 1, "processor": "another", "cpu_model": "another"}
    assert gpu.model_copy(update=other_cpu).digest == gpu.digest
    assert cpu.model_copy(update=other_cpu).digest != cpu.digest
    assert describe_platform(FakeDevice()).cpu_model == ""


EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
flags\t\t: fpu sse2 fma avx2 avx512f avx512_bf16

processor\t: 1
vendor_id\t: another
"""
GRAVITON = """processor\t: 0
Features\t: fp asimd sve bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


def write_cpu(folder: Path, cpuinfo: str = EPYC, l2: str = "1024K", l3_cpus: str = "000000ff") -> str:
    """What a machine with these files says of its CPU."""
    folder.mkdir()
    (folder / "cpuinfo").write_text(cpuinfo)
    caches = (
        ("1", "Data", "32K", "1"),
        ("1", "Instruction", "64K", "1"),
        ("2", "Unified", l2, "00000000,00000001"),
        ("3", "Unified", "32768K", l3_cpus),
    )
    for i, values in enumerate(caches):
        (folder / f"index{i}").mkdir()
        for name, value in zip(("level", "type", "size", "shared_cpu_map"), values, strict=True):
            (folder / f"index{i}" / name).write_text(f"{value}\n")
    return describe_cpu(folder / "cpuinfo", folder)


@pytest.mark.parametrize(
    ("cpuinfo", "described"),
    [
        (
            EPYC,
            "vendor_id AuthenticAMD cpu family 25 model 17, avx512_bf16 fma, L1 32K/1 L2 1024K/1 L3 32768K/8",
        ),
        (GRAVITON, "CPU implementer 0x41 CPU part 0xd40, bf16 sve, L1 32K/1 L2 1024K/1 L3 32768K/8"),
    ],
)
def test_a_cpu_is_described_by_what_chooses_kernels_and_blocks(
    tmp_path: Path, cpuinfo: str, described: str
) -> None:
    assert write_cpu(tmp_path / "one", cpuinfo) == described


def test_cpus_of_one_instruction_set_are_told_apart(tmp_path: Path) -> None:
    same = write_cpu(tmp_path / "one")
    assert write_cpu(tmp_path / "same", EPYC.replace("AMD EPYC", "renamed")) == same
    others = [
        write_cpu(tmp_path / "model", EPYC.replace("17", "1")),
        write_cpu(tmp_path / "features", EPYC.replace(" avx512_bf16", "")),
        write_cpu(tmp_path / "cache", l2="512K"),
        write_cpu(tmp_path / "sharing", l3_cpus="3"),
    ]
    assert len({same, *others}) == 5
    platform = describe_platform(FakeDevice()).model_copy(update={"accelerator": {}})
    digests = {platform.model_copy(update={"cpu_model": one}).digest for one in (same, *others)}
    assert len(digests) == 5


def test_a_system_that_says_nothing_of_its_cpu_has_a_platform_all_the_same(tmp_path: Path) -> None:
    assert describe_cpu(tmp_path / "cpuinfo", tmp_path) == ""
