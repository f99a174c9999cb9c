"""A file is parsed or refused as `InvalidLora`: no file makes a worker raise anything else."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shared.errors import InvalidLora, LoraUnavailable, NonFiniteWeights
from tests.tiny_models import make_pipeline
from tests.tiny_transformers import make_flux
from workers.families.flux.lora_targets import flux_lora_targets
from workers.families.unet import lora_targets
from workers.families.unet.lora_targets import UNetLoraTargets
from workers.lora.formats import parser
from workers.lora.formats.parser import read_lora
from workers.lora.patch import Patcher
from workers.lora.targets import LoraTargets

MODULES = {
    "linear": "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
    "conv": "down_blocks.0.resnets.0.conv1",
    "norm": "conv_norm_out",
}


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    pipe = make_pipeline("sd1")
    return {"unet": pipe.unet, "text_encoder": pipe.text_encoder}


def kinds(models: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """A sound module of each kind."""
    made = {}
    for which in ("linear", "conv"):
        weight = models["unet"].get_parameter(f"{MODULES[which]}.weight")
        out, inside, kernel = len(weight), weight.shape[1], weight.shape[2:]
        stem = f"lora_unet_{MODULES[which].replace('.', '_')}"
        made[f"{which} lora"] = {
            f"{stem}.lora_down.weight": torch.ones(2, inside, *kernel),
            f"{stem}.lora_up.weight": torch.ones(out, 2),
            f"{stem}.alpha": torch.tensor(1.0),
            f"{stem}.dora_scale": torch.ones(out, 1),
        }
        made[f"{which} tucker"] = {
            f"{stem}.hada_w1_a": torch.ones(2, out),
            f"{stem}.hada_w1_b": torch.ones(2, inside),
            f"{stem}.hada_t1": torch.ones(2, 2, *kernel),
            f"{stem}.hada_w2_a": torch.ones(2, out),
            f"{stem}.hada_w2_b": torch.ones(2, inside),
            f"{stem}.hada_t2": torch.ones(2, 2, *kernel),
        }
        made[f"{which} lokr"] = {
            f"{stem}.lokr_w1": torch.ones(2, 2),
            f"{stem}.lokr_w2_a": torch.ones(out // 2, 2),
            f"{stem}.lokr_w2_b": torch.ones(2, inside // 2 * kernel.numel()),
        }
        peft = f"unet.{MODULES[which]}"
        made[f"{which} peft"] = {
            f"{peft}.lora_A.weight": torch.ones(2, inside, *kernel),
            f"{peft}.lora_B.weight": torch.ones(out, 2, *(1 for _ in kernel)),
            f"{peft}.lora_magnitude_vector": torch.ones(out),
        }
    norm = f"lora_unet_{MODULES['norm']}"
    made["norm"] = {f"{norm}.w_norm": torch.ones(32), f"{norm}.b_norm": torch.ones(32)}
    return made


@pytest.fixture(scope="module")
def flux_models() -> dict[str, nn.Module]:
    pipe = make_flux(layers=(1, 1))
    return {part: getattr(pipe, part) for part in ("transformer", "text_encoder", "text_encoder_2")}


#: Of Flux: what several modules share, halves in another order, and every way to spell a name.
FLUX = {
    "fused": {
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.ones(2, 32),
        "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.ones(96, 2),
        "lora_unet_double_blocks_0_img_attn_qkv.alpha": torch.tensor(1.0),
        "lora_unet_double_blocks_0_img_attn_qkv.dora_scale": torch.ones(96, 1),
    },
    "fused lokr": {
        "lycoris_single_blocks_0_linear1.lokr_w1": torch.ones(7, 2),
        "lycoris_single_blocks_0_linear1.lokr_w2_a": torch.ones(32, 2),
        "lycoris_single_blocks_0_linear1.lokr_w2_b": torch.ones(2, 16),
        "lycoris_single_blocks_0_linear1.diff_b": torch.ones(224),
    },
    "swapped": {
        "final_layer.adaLN_modulation.1.lora_A.weight": torch.ones(2, 32),
        "final_layer.adaLN_modulation.1.lora_B.weight": torch.ones(64, 2),
        "final_layer.adaLN_modulation.1.lora_B.bias": torch.ones(64),
    },
    "xlabs": {
        "double_blocks.0.processor.qkv_lora2.down.weight": torch.ones(2, 32),
        "double_blocks.0.processor.qkv_lora2.up.weight": torch.ones(96, 2),
    },
    "T5": {
        "text_encoders.t5xxl.transformer.encoder.final_layer_norm.diff": torch.ones(24),
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_down.weight": torch.ones(2, 24),
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_up.weight": torch.ones(24, 2),
    },
}

SHAPES = st.lists(st.integers(0, 5), max_size=5)
DTYPES = st.sampled_from(
    [torch.float16, torch.float8_e5m2, torch.int8, torch.int64, torch.bool, torch.float64, torch.complex64]
)
NUMBERS = st.sampled_from([0.0, -1.0, 1e38, -1e38, float("nan"), float("inf"), 7e4])
METADATA = st.one_of(
    st.just("{"),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    ["lora_alpha", "unet.lora_alpha", "alpha_pattern", "unet.use_rslora", "to_k", "(", "r"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=6,
    ).map(json.dumps),
)


def mutated(tensors: dict[str, Tensor], data: st.DataObject) -> dict[str, Tensor]:
    tensors = dict(tensors)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(tensors)))
        change = data.draw(
            st.sampled_from(["shape", "dtype", "numbers", "drop", "rename", "squeeze", "swap"])
        )
        tensor = tensors.pop(key)
        if change == "shape":
            tensors[key] = torch.ones(data.draw(SHAPES))
        elif change == "dtype":
            tensors[key] = torch.ones(tensor.shape).to(data.draw(DTYPES))
        elif change == "numbers":
            tensors[key] = torch.full(tensor.shape, data.draw(NUMBERS))
        elif change == "squeeze":
            tensors[key] = tensor.squeeze() if data.draw(st.booleans()) else tensor[..., None]
        elif change == "swap":
            tensors[key] = tensor.transpose(0, -1) if tensor.dim() else tensor
        elif change == "rename":
            at = data.draw(st.integers(0, len(key)))
            part = data.draw(st.sampled_from(["", ".", "_", "lora_", "text_encoder.", "processor", "0"]))
            tensors[key[:at] + part + key[at + data.draw(st.integers(0, 6)) :]] = tensor
        if not tensors:
            break
    return tensors


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_mutated_file_is_parsed_or_refused(
    models: dict[str, nn.Module],
    write: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    data: st.DataObject,
) -> None:
    parse_and_patch(models, UNetLoraTargets(models), kinds(models), write, caplog, data)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_mutated_file_of_a_transformer_is_parsed_or_refused(
    flux_models: dict[str, nn.Module],
    write: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    data: st.DataObject,
) -> None:
    parse_and_patch(flux_models, flux_lora_targets(flux_models), FLUX, write, caplog, data)


def parse_and_patch(
    models: dict[str, nn.Module],
    targets: LoraTargets,
    sound: dict[str, dict[str, Tensor]],
    write: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    data: st.DataObject,
) -> None:
    kind = data.draw(st.sampled_from(sorted(sound)))
    metadata = {"lora_adapter_metadata": data.draw(METADATA)} if data.draw(st.booleans()) else None
    file = write(mutated(sound[kind], data), metadata)
    try:
        lora = read_lora(file, targets)
    except InvalidLora as error:
        refusal = str(error)
        assert refusal
        return
    finally:
        # What was refused was refused knowingly, not because a library stumbled.
        assert "cannot be parsed" not in caplog.text
    # What was parsed can be written, and taken back
    patcher = Patcher(models)
    try:
        patcher.apply([(lora, 0.5)])
    except NonFiniteWeights:
        pass
    finally:
        patcher.restore()


@pytest.mark.parametrize("kind", ["conv lora", "conv tucker", "linear lokr", "linear peft", "norm"])
def test_the_sound_file_of_each_kind_is_parsed(
    models: dict[str, nn.Module], write: Callable[..., Path], kind: str
) -> None:
    assert read_lora(write(kinds(models)[kind]), UNetLoraTargets(models)).parts["unet"]


@pytest.mark.parametrize("kind", FLUX)
def test_the_sound_file_of_each_kind_is_parsed_for_a_transformer(
    flux_models: dict[str, nn.Module], write: Callable[..., Path], kind: str
) -> None:
    assert read_lora(write(FLUX[kind]), flux_lora_targets(flux_models)).parts


@pytest.mark.parametrize("rank", ["lora_down.weight", "lora_up.weight"])
@pytest.mark.parametrize("which", ["linear", "conv"])
def test_a_module_of_rank_zero_is_refused_by_its_key(
    models: dict[str, nn.Module], write: Callable[..., Path], which: str, rank: str
) -> None:
    tensors = kinds(models)[f"{which} lora"]
    key = next(key for key in tensors if key.endswith(rank))
    empty = tensors[key][:0] if rank.startswith("lora_down") else tensors[key][:, :0]
    with pytest.raises(InvalidLora, match=key):
        read_lora(write(tensors | {key: empty}), UNetLoraTargets(models))


@pytest.mark.parametrize(
    "error",
    [ValueError("a\n\x1b[31mb"), RuntimeError("mat1 and mat2"), AssertionError(), AttributeError("x")],
)
@pytest.mark.parametrize("where", ["build_matrix", "_peft_name"])
def test_whatever_a_file_makes_a_library_raise_is_invalid_and_names_the_keys(
    models: dict[str, nn.Module],
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: str,
    error: Exception,
) -> None:
    def fail(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(parser if where == "build_matrix" else lora_targets, where, fail)
    tensors = kinds(models)["linear peft"]
    with caplog.at_level(logging.ERROR), pytest.raises(InvalidLora, match=sorted(tensors)[0]) as refused:
        read_lora(write(tensors), UNetLoraTargets(models))
    assert str(refused.value).isprintable()
    assert refused.value.__cause__ is error
    assert "cannot be parsed" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(5, "Input/output error"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        LoraUnavailable("the job was cancelled"),
    ],
    ids=repr,
)
def test_what_no_file_can_cause_is_not_blamed_on_it(
    models: dict[str, nn.Module],
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(parser, "build_matrix", fail)
    with pytest.raises(type(error)) as raised:
        read_lora(write(kinds(models)["linear peft"]), UNetLoraTargets(models))
    assert raised.value is error


def test_a_parse_looks_whether_it_is_still_wanted_at_every_tensor(
    models: dict[str, nn.Module], write: Callable[..., Path]
) -> None:
    file = write(kinds(models)["conv lora"] | kinds(models)["norm"])
    looks = 0

    def count() -> None:
        nonlocal looks
        looks += 1

    read_lora(file, UNetLoraTargets(models), check=count)
    assert looks >= 6  # it has six tensors
    for last in range(looks):
        left = iter(range(last))

        def check(left: Any = left) -> None:
            if next(left, None) is None:
                raise LoraUnavailable("the job was cancelled")

        with pytest.raises(LoraUnavailable):
            read_lora(file, UNetLoraTargets(models), check=check)


def test_a_file_that_is_no_longer_there_is_an_error_of_the_disk(
    models: dict[str, nn.Module], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        read_lora(tmp_path / "gone.safetensors", UNetLoraTargets(models))
