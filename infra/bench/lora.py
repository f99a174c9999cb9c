"""Part ``lora``: how long a loop stands still for a switch of LoRAs, against diffusers, at SD 1.5's size."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from infra.bench.report import Bound, CheckFailed, Measured, Result
from infra.bench.workloads import Workload, open_workload
from workers.lora.files import read_lora
from workers.lora.patch import Patcher

BOUNDS = {
    "switch_speedup_sd15": Bound("at_least", 10),
    "switch_over_memcpy_sd15": Bound("at_most", 3),
}
WORKLOAD = "sd15"
#: diffusers sums in another order: the same weights but for the last bits of numbers up to about 1.
SAME = 1e-6
#: Copied at a time; the copy of all weights at once would need as much memory again.
COPY_BYTES = 256 << 20
PEER_ACTS = ("load", "fuse", "unfuse", "unload")


def measure(quick: bool) -> Measured:
    """LoRA A in the weights becomes B, then none; diffusers loads, fuses, unfuses and unloads B.

    By turns, one thread each: a device is a core. All times are those in which no step can run.
    """
    workload = open_workload(WORKLOAD)
    with _one_thread():
        ours, peer = Ours(workload), Peer(workload)
        samples: dict[str, list[float]] = defaultdict(list)
        for i in range(1 if quick else 5):
            told = measure_pair(ours, peer)
            for name, value in told.items():
                samples[name].append(value)
            copies = f"{told['over_memcpy']:.2f} memory copies a pass"
            print(f"  pair {i + 1}: {told['speedup']:.1f} times as fast, {copies}", flush=True)
        side = {} if quick else {"side_branch_step_s": peer.side_branch_step_s()}
    figures = {
        "switch_speedup_sd15": median(samples["speedup"]),
        "switch_over_memcpy_sd15": median(samples["over_memcpy"]),
        "switch_speedup_sd15_min": min(samples["speedup"]),
        "switch_speedup_sd15_max": max(samples["speedup"]),
        "switch_over_memcpy_sd15_max": max(samples["over_memcpy"]),
        **{name: median(samples[name]) for name in ("replace_s", "restore_s", "memcpy_s")},
        "peer_switch_s": sum(median(samples[f"peer_{act}_s"]) for act in PEER_ACTS),
        "max_abs_diff": max(samples["max_abs_diff"]),
        "peer_left_behind": max(samples["peer_left_behind"]),
        "touched_gb": ours.touched_bytes / 1e9,
        **ours.made_ready,
        **side,
    }
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """What each act takes, and the switches in units of a memory copy."""
    acts = {f"diffusers: {act}": median(result.samples[f"peer_{act}_s"]) for act in reversed(PEER_ACTS)}
    acts |= {f"ours: {act}": median(result.samples[f"{act}_s"]) for act in ("restore", "replace")}
    left.barh(list(acts), list(acts.values()))
    left.set(xscale="log", xlabel="s", title=f"LoRA of {result.figures['touched_gb']:.1f} GB of weights")
    right.plot(result.samples["over_memcpy"], ".-", label="replace and restore")
    right.axhline(result.targets["switch_over_memcpy_sd15"].at_most, linestyle=":", label="target")
    right.set(xlabel="pair", ylabel="memory copies of the weights", title="each pass against one copy")
    right.set_ylim(bottom=0)
    right.legend()


class Ours:
    """The patcher of a worker, with both LoRAs read and what can be done ahead done."""

    def __init__(self, workload: Workload) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(workload.model, subfolder="unet")
        self.patcher = Patcher({"unet": self.unet})
        read_s = _timed(lambda: self._read(workload))
        keep_s = _timed(lambda: self.patcher.keep(self.b))
        first_s = _timed(lambda: self.patcher.apply([(self.a, 1.0)]))
        self.parameters = {name: self.unet.get_parameter(name).detach() for name in self.b.parts["unet"]}
        self.touched_bytes = sum(weight.nbytes for weight in self.parameters.values())
        # Beside the loop: read and keep, a LoRA at a time. In it, once in a worker's life: the first patch.
        self.made_ready = {"read_s": read_s / 2, "keep_s": keep_s, "first_patch_s": first_s}
        self._loaded = UNet2DConditionModel.from_pretrained(workload.model, subfolder="unet")

    def replace(self) -> float:
        """Seconds from A to B."""
        self.patcher.apply([(self.a, 1.0)])
        return _timed(lambda: self.patcher.apply([(self.b, 1.0)]))

    def restore(self) -> float:
        """Seconds from B to the base's weights."""
        return _timed(self.patcher.restore)

    def is_pristine(self) -> bool:
        """Whether every weight is what the file holds, to the bit."""
        pairs = zip(self.unet.parameters(), self._loaded.parameters(), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    def _read(self, workload: Workload) -> None:
        self.a, self.b = (read_lora(path, {"unet": self.unet}) for path in workload.loras)


class Peer:
    """diffusers' pipeline, used as its documentation says."""

    def __init__(self, workload: Workload) -> None:
        self.pipe = StableDiffusionPipeline.from_pretrained(workload.model, requires_safety_checker=False)
        for parameter in self.pipe.unet.parameters():
            parameter.data = parameter.data.clone()  # or its first fusion would pay for faults of the file
        self._path = workload.loras[1]

    def load(self) -> float:
        """Seconds to load B."""
        folder, name = str(self._path.parent), self._path.name
        return _timed(lambda: self.pipe.load_lora_weights(folder, weight_name=name, adapter_name="b"))

    def fuse(self) -> float:
        """Seconds to fuse it."""
        return _timed(self.pipe.fuse_lora)

    def unfuse(self) -> float:
        """Seconds to take it out of the weights, but for rounding."""
        return _timed(self.pipe.unfuse_lora)

    def unload(self) -> float:
        """Seconds to forget it."""
        return _timed(self.pipe.unload_lora_weights)

    def furthest(self, parameters: dict[str, Tensor]) -> float:
        """The largest difference of any weight to one of ``parameters``."""
        theirs = {name.replace(".base_layer", ""): weight for name, weight in self._weights()}
        return max(float((theirs[name] - ours).abs_().max()) for name, ours in parameters.items())

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.pipe.unet.named_parameters():
            yield name, parameter.detach()

    @torch.inference_mode()
    def side_branch_step_s(self) -> float:
        """What a LoRA that is not fused adds to a step: two rows, a side branch for each of its modules."""
        x = torch.randn(2, 4, 16, 16)
        text = torch.randn(2, 77, self.pipe.unet.config.cross_attention_dim)

        def step() -> None:
            self.pipe.unet(x, 500, encoder_hidden_states=text)

        step()
        plain = median(_timed(step) for _ in range(3))
        self.load()
        step()
        return median(_timed(step) for _ in range(3)) - plain


def measure_pair(ours: Ours, peer: Peer) -> dict[str, float]:
    """Both switches; raises `CheckFailed` unless they make the same weights and ours leave nothing."""
    replace_s, load_s, fuse_s = ours.replace(), peer.load(), peer.fuse()
    difference = peer.furthest(ours.parameters)
    if difference > SAME or ours.is_pristine():
        raise CheckFailed(f"a patched weight is {difference:.1e} from the one that diffusers fuses")
    restore_s, unfuse_s, unload_s = ours.restore(), peer.unfuse(), peer.unload()
    if not ours.is_pristine():
        raise CheckFailed("a restored weight is not the one that was loaded")
    memcpy_s = _memcpy_s(ours.touched_bytes)
    switch_s, peer_s = replace_s + restore_s, load_s + fuse_s + unfuse_s + unload_s
    return {
        "replace_s": replace_s,
        "restore_s": restore_s,
        "memcpy_s": memcpy_s,
        "peer_load_s": load_s,
        "peer_fuse_s": fuse_s,
        "peer_unfuse_s": unfuse_s,
        "peer_unload_s": unload_s,
        "max_abs_diff": difference,
        "peer_left_behind": peer.furthest(ours.parameters),
        "speedup": peer_s / switch_s,
        "over_memcpy": switch_s / (2 * memcpy_s),  # two passes over the weights
    }


def _memcpy_s(size_bytes: int) -> float:
    """Seconds to copy so many bytes from one place in memory to another."""
    source = torch.ones(COPY_BYTES // 4)
    target = torch.zeros_like(source)
    target.copy_(source)
    taken = _timed(lambda: [target.copy_(source) for _ in range(4)])
    return taken * size_bytes / (4 * COPY_BYTES)


def _timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
