"""Part ``lora``: how long a loop stands still for a switch of LoRAs, against diffusers, at SD 1.5's size."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from infra.bench.harness.report import Bound, CheckFailed, Measured, Result
from infra.bench.workloads.models import open_workload
from infra.bench.workloads.workload import Workload
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats.parser import read_lora
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
REPEATS = 3
BASELINE_ACTS = ("load", "fuse", "unfuse", "unload")


def measure(quick: bool) -> Measured:
    """LoRA A in the weights becomes B, then none; diffusers loads, fuses, unfuses and unloads B.

    By turns, one thread each: a device is a core. All times are those in which no step can run.
    """
    workload = open_workload(WORKLOAD)
    with _one_thread():
        ours, baseline = Ours(workload), DiffusersBaseline(workload)
        samples: dict[str, list[float]] = defaultdict(list)
        for i in range(1 if quick else 5):
            outcome = measure_pair(ours, baseline)
            for name, value in outcome.items():
                samples[name].append(value)
            copies = f"{outcome['over_memcpy_s']:.2f} memory copies a pass"
            print(f"  pair {i + 1}: {outcome['speedup_s']:.1f} times as fast, {copies}", flush=True)
        side = {} if quick else {"side_branch_step_s": baseline.side_branch_step_s()}
    figures = {
        "switch_speedup_sd15": median(samples["speedup_s"]),
        "switch_over_memcpy_sd15": median(samples["over_memcpy_s"]),
        "switch_speedup_sd15_min": min(samples["speedup_s"]),
        "switch_speedup_sd15_max": max(samples["speedup_s"]),
        "switch_over_memcpy_sd15_min": min(samples["over_memcpy_s"]),
        "switch_over_memcpy_sd15_max": max(samples["over_memcpy_s"]),
        "switch_cpu_speedup_sd15": median(samples["speedup_cpu_s"]),
        "switch_cpu_over_memcpy_sd15": median(samples["over_memcpy_cpu_s"]),
        **{name: median(samples[name]) for name in ("replace_s", "restore_s", "memcpy_s")},
        "baseline_switch_s": sum(median(samples[f"baseline_{act}_s"]) for act in BASELINE_ACTS),
        "max_abs_diff": max(samples["max_abs_diff"]),
        "baseline_left_behind": max(samples["baseline_left_behind"]),
        "touched_gb": ours.touched_bytes / 1e9,
        **ours.made_ready,
        **side,
    }
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """What each act takes, and the switches in units of a memory copy."""
    acts = {
        f"diffusers: {act}": median(result.samples[f"baseline_{act}_s"]) for act in reversed(BASELINE_ACTS)
    }
    acts |= {f"ours: {act}": median(result.samples[f"{act}_s"]) for act in ("restore", "replace")}
    left.barh(list(acts), list(acts.values()))
    left.set(xscale="log", xlabel="s", title=f"LoRA of {result.figures['touched_gb']:.1f} GB of weights")
    right.plot(result.samples["over_memcpy_s"], ".-", label="replace and restore")
    right.axhline(result.targets["switch_over_memcpy_sd15"].at_most, linestyle=":", label="target")
    right.set(xlabel="pair", ylabel="memory copies of the weights", title="each pass against one copy")
    right.set_ylim(bottom=0)
    right.legend()


class Taken(NamedTuple):
    """What an act took: on the clock, and of the processor, whom neighbours disturb less."""

    s: float
    cpu_s: float


class Ours:
    """The patcher of a worker, with both LoRAs read and what can be done ahead done."""

    def __init__(self, workload: Workload) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(workload.model, subfolder="unet")
        self.patcher = Patcher({"unet": self.unet})
        read = _timed(lambda: self._read(workload))
        prepare = _timed(lambda: self.patcher.prepare(self.b))
        first = _timed(lambda: self.patcher.apply([(self.a, 1.0)]))
        self.parameters = {name: self.unet.get_parameter(name).detach() for name in self.b.parts["unet"]}
        self.touched_bytes = sum(weight.nbytes for weight in self.parameters.values())
        # Beside the loop: read and keep, a LoRA at a time. In it, once in a worker's life: the first patch.
        self.made_ready = {"read_s": read.s / 2, "prepare_s": prepare.s, "first_patch_s": first.s}
        self._loaded = UNet2DConditionModel.from_pretrained(workload.model, subfolder="unet")

    def replace(self) -> Taken:
        """From A to B."""
        self.patcher.apply([(self.a, 1.0)])
        return _timed(lambda: self.patcher.apply([(self.b, 1.0)]))

    def restore(self) -> Taken:
        """From B to the base's weights."""
        return _timed(self.patcher.restore)

    def is_pristine(self) -> bool:
        """Whether every weight is what the file holds, to the bit."""
        pairs = zip(self.unet.parameters(), self._loaded.parameters(), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    def _read(self, workload: Workload) -> None:
        self.a, self.b = (read_lora(path, UNetLoraTargets({"unet": self.unet})) for path in workload.loras)


class DiffusersBaseline:
    """diffusers' pipeline, used as its documentation says."""

    def __init__(self, workload: Workload) -> None:
        self.pipe = StableDiffusionPipeline.from_pretrained(workload.model, requires_safety_checker=False)
        for parameter in self.pipe.unet.parameters():
            parameter.data = parameter.data.clone()  # or its first fusion would pay for faults of the file
        self._path = workload.loras[1]

    def load(self) -> Taken:
        """Load B."""
        folder, name = str(self._path.parent), self._path.name
        return _timed(lambda: self.pipe.load_lora_weights(folder, weight_name=name, adapter_name="b"))

    def fuse(self) -> Taken:
        """Fuse it."""
        return _timed(self.pipe.fuse_lora)

    def unfuse(self) -> Taken:
        """Take it out of the weights, but for rounding."""
        return _timed(self.pipe.unfuse_lora)

    def unload(self) -> Taken:
        """Forget it."""
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
        plain = median(_timed(step).s for _ in range(3))
        self.load()
        step()
        return median(_timed(step).s for _ in range(3)) - plain


def measure_pair(ours: Ours, baseline: DiffusersBaseline) -> dict[str, float]:
    """Both switches; raises `CheckFailed` unless they make the same weights and ours leave nothing.

    Ours are over so soon that a neighbour's burst can cover one: they and the copy are done `REPEATS` times.
    """
    taken: dict[str, list[Taken]] = defaultdict(list)
    for _ in range(REPEATS):
        taken["replace"].append(ours.replace())
        taken["memcpy"].append(_memcpy(ours.touched_bytes))
        taken["restore"].append(ours.restore())
    ours.replace()
    taken["baseline_load"], taken["baseline_fuse"] = [baseline.load()], [baseline.fuse()]
    difference = baseline.furthest(ours.parameters)
    if difference > SAME or ours.is_pristine():
        raise CheckFailed(f"a patched weight is {difference:.1e} from the one that diffusers fuses")
    ours.restore()
    taken["baseline_unfuse"], taken["baseline_unload"] = [baseline.unfuse()], [baseline.unload()]
    if not ours.is_pristine():
        raise CheckFailed("a restored weight is not the one that was loaded")
    outcome = {"max_abs_diff": difference, "baseline_left_behind": baseline.furthest(ours.parameters)}
    for clock in Taken._fields:
        times = {name: median(getattr(one, clock) for one in several) for name, several in taken.items()}
        switch, theirs = (
            times["replace"] + times["restore"],
            sum(times[f"baseline_{act}"] for act in BASELINE_ACTS),
        )
        outcome |= {f"{name}_{clock}": value for name, value in times.items()}
        outcome[f"speedup_{clock}"] = theirs / switch
        outcome[f"over_memcpy_{clock}"] = switch / (2 * times["memcpy"])  # two passes over the weights
    return outcome


def _memcpy(size_bytes: int) -> Taken:
    """Copying so many bytes from one place in memory to another."""
    source = torch.ones(COPY_BYTES // 4)
    target = torch.zeros_like(source)
    target.copy_(source)
    taken = _timed(lambda: [target.copy_(source) for _ in range(4)])
    return Taken(*(value * size_bytes / (4 * COPY_BYTES) for value in taken))


def _timed(act: Callable[[], object]) -> Taken:
    s, cpu_s = time.perf_counter(), time.process_time()
    act()
    return Taken(time.perf_counter() - s, time.process_time() - cpu_s)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
