"""Jobs that models of the transformer families cannot do are refused before anything is stored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.schemas.job_request import JobRequest
from api.schemas.submission import ReplayRequest, Submission
from api.services import Services
from api.submission.source import Source, read_source
from api.submission.submit import prepare
from shared.catalog.catalog import read_catalog
from shared.errors import InvalidRequest
from shared.jobs.spec import JobSpec
from shared.keys import LOCAL
from tests.api.services import base64_of, image_file, receipt_of, resolved, safetensors
from tests.api.transformer_catalog import CONTROLNETS, MODELS, with_transformers


@pytest.fixture
def transformers(services: Services, tmp_path: Path) -> Services:
    return with_transformers(services, tmp_path)


def job(services: Services, *controlnets: str, **fields: Any) -> JobSpec:
    image = base64_of(image_file())
    body = {"prompt": "a cat", "controlnets": [{"name": name, "image": image} for name in controlnets]}
    return resolved(JobRequest.model_validate(body | fields), services)


def refusal(services: Services, *controlnets: str, **fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        job(services, *controlnets, **fields)
    return refused.value


@pytest.mark.parametrize("model", MODELS)
def test_a_job_has_the_defaults_of_its_models_family(transformers: Services, model: str) -> None:
    spec = job(transformers, model=model)
    assert spec.scheduler == "flow_match_euler"
    assert spec.num_inference_steps in (28, 50)
    assert spec.true_cfg_scale is None
    assert spec.strength is None


#: Steps, guidance, strength and scale of a ControlNet that diffusers' pipelines have by default.
DEFAULTS: list[tuple[str, str | None, str, tuple[Any, ...]]] = [
    ("flux", None, "text", (28, 3.5, None)),
    ("flux", None, "image", (28, 7.0, 0.6)),
    ("flux", "flux-5-10", "text", (28, 7.0, None, 1.0)),
    ("flux", "flux-5-10", "mask", (28, 7.0, 0.6, 1.0)),
    ("sd3", None, "image", (50, 7.0, 0.6)),
    ("sd3", "sd3-net", "text", (28, 7.0, None, 1.0)),
    ("sd3", "sd3-mask", "mask", (28, 7.0, 1.0, 1.0)),
    ("qwen", None, "mask", (50, 1.0, 0.6)),
    ("qwen", "qwen-mask", "mask", (50, 1.0, 1.0, 1.0)),
    ("z", None, "image", (50, 5.0, 0.6)),
    ("z", None, "mask", (50, 5.0, 1.0)),
    ("z", "z-net", "text", (50, 5.0, None, 0.75)),
    ("z", "z-mask", "mask", (50, 5.0, 1.0, 0.75)),
]


@pytest.mark.parametrize(("model", "controlnet", "mode", "expected"), DEFAULTS)
def test_a_job_has_the_defaults_of_the_pipeline_for_its_mode(
    transformers: Services, model: str, controlnet: str | None, mode: str, expected: tuple[Any, ...]
) -> None:
    begins = {"text": {}, "image": IMAGE, "mask": MASKED}[mode]
    own_image = {} if controlnet in ("sd3-mask", "qwen-mask") else IMAGE
    controlnets = [{"name": controlnet, **own_image}] if controlnet else []
    spec = job(transformers, model=model, controlnets=controlnets, **begins)
    scales = [one.conditioning_scale for one in spec.controlnets]
    assert (spec.num_inference_steps, spec.guidance_scale, spec.strength, *scales) == expected
    # and `/v1/models` lists them
    models = create_app(transformers).test_client().get("/v1/models").json["models"]
    listed = next(one for one in models if one["name"] == model)
    usual = listed["controlnet_defaults" if controlnet else "defaults"][mode]
    assert usual == {
        "num_inference_steps": expected[0],
        "guidance_scale": expected[1],
        "strength": expected[2],
        "conditioning_scale": expected[3] if controlnet else None,
    }


def test_what_the_catalog_says_holds_in_every_mode(transformers: Services) -> None:
    path, source = transformers.settings.catalog, 'source = "sd3"'
    path.write_text(path.read_text().replace(source, f"{source}\nnum_inference_steps = 4"))
    services = replace(transformers, catalog=read_catalog(path))
    for begins in ({}, IMAGE, MASKED):
        spec = job(services, model="sd3", **begins)
        assert (spec.num_inference_steps, spec.guidance_scale) == (4, 7.0)


def test_options_of_the_scheduler_config_decide_what_a_job_may_set(transformers: Services) -> None:
    path, source = transformers.settings.catalog, 'source = "flux"'
    options = "scheduler_config = {use_dynamic_shifting = false, shift = 3.0}"
    path.write_text(path.read_text().replace(source, f"{source}\n{options}"))
    services = replace(transformers, catalog=read_catalog(path))
    assert job(services, shift=2.0).shift == 2.0
    assert refusal(services, scheduler="dpmpp_2m_flow").field == "scheduler"
    models = create_app(services).test_client().get("/v1/models").json["models"]
    listed = {one["name"]: one for one in models}
    assert listed["flux"]["scheduler_config"] == {"use_dynamic_shifting": False, "shift": 3.0}
    assert "shift" in listed["flux"]["fields"]
    assert listed["qwen"]["scheduler_config"] == {}


def test_a_scale_that_a_job_says_is_its_own(transformers: Services) -> None:
    controlnets = [{"name": "z-net", "conditioning_scale": 1.0, **IMAGE}]
    spec = job(transformers, model="z", controlnets=controlnets)
    assert spec.controlnets[0].conditioning_scale == 1.0
    alias = {"controlnets": [{"name": "z-net", **IMAGE}], "controlnet_conditioning_scale": 0.3}
    assert job(transformers, model="z", **alias).controlnets[0].conditioning_scale == 0.3


LARGE = base64_of(image_file((1552, 64)))
IMAGE = {"image": base64_of(image_file((96, 96)))}
MASKED = {**IMAGE, "mask_image": IMAGE["image"]}


@pytest.mark.parametrize(
    ("controlnets", "fields", "field", "words"),
    [
        (["flux-narrow"], {}, "controlnets.0.name", ["width 1536", "width 3072"]),
        (["qwen-for-flux"], {}, "controlnets.0.name", ["Qwen-Image", "Flux.1"]),
        (["qwen-net"], {}, "controlnets.0.name", ["was trained for model 'qwen', not for 'flux'"]),
        (["flux-6-0", "flux-5-10"], {}, "controlnets.1.name", ["5/10 residuals", "6/0 residuals"]),
        (["flux-5-10", "flux-6-0"], {}, "controlnets.1.name", ["one job cannot have both"]),
        (["flux-guided", "flux-5-10"], {}, "controlnets.1.name", ["5/10 residuals, with guidance"]),
        (["flux-5-10", "flux-guided"], {}, "controlnets.1.name", ["one job cannot have both"]),
        (["flux-union"], {}, "controlnets.0.control_mode", ["0 to 9"]),
        (["qwen-net", "qwen-other"], {"model": "qwen"}, "controlnets", ["qwen-net, qwen-other"]),
        (["z-net", "z-net"], {"model": "z"}, "controlnets", ["at most 1"]),
        (["sd3-mask"], {"model": "sd3"}, "controlnets.0.name", ["to inpaint", "needs an image and a mask_"]),
        (["sd3-mask"], {"model": "sd3", **IMAGE}, "controlnets", ["from texts alone or an image and a mask"]),
        (["sd3-mask"], {"model": "sd3", **MASKED}, "controlnets.0.image", ["'sd3-mask'", "leave its own"]),
        (["sd3-net"], {"model": "sd3", **MASKED}, "controlnets.0.name", ["was not trained to inpaint"]),
        (["qwen-mask"], {"model": "qwen", "strength": 0.6, **MASKED}, "strength", ["strength is 1"]),
        (["qwen-mask", "qwen-mask"], {"model": "qwen", **MASKED}, "controlnets", ["a mask", "at most 1"]),
        (["z-net"], {"model": "z", **IMAGE}, "controlnets", ["from texts alone"]),
        (["z-net"], {"model": "z", **MASKED}, "controlnets.0.name", ["'z-net' was not trained to inpaint"]),
        (["z-mask"], {"model": "z", **MASKED, "strength": 0.8}, "strength", ["strength is 1"]),
        ([], {"model": "sd3", "width": 1024, "height": 1552}, "height", ["1552", "the limit is 1536"]),
        ([], {"model": "sd3", "image": LARGE}, "image", ["1552 x 64", "1536"]),
        (["sd3-small"], {"model": "sd3", "width": 512, "height": 784}, "height", ["'sd3-small'", "768"]),
        (["sd3-small"], {"model": "sd3"}, "width", ["1024", "at most 768"]),
        ([], {"width": 1000}, "width", ["multiple of 16"]),
        ([], {"clip_skip": 1}, "clip_skip", ["take clip_skip", "model 'flux' is Flux.1"]),
        (["flux-5-10"], {"guess_mode": True}, "guess_mode", ["SDXL and Stable Diffusion 1 or 2 take"]),
        ([], {"prompt_syntax": "a1111"}, "prompt_syntax", ["is known to SDXL"]),
        ([], {"prompt_3": "a dog"}, "prompt_3", ["only Stable Diffusion 3 takes prompt_3"]),
        ([], {"eta": 0.5}, "eta", ["takes no eta"]),
        ([], {"timesteps": [999, 500]}, "timesteps", ["takes no timesteps"]),
        ([], {"scheduler": "ddim"}, "scheduler", ["'ddim' is not for Flux.1"]),
        ([], {"model": "schnell", "scheduler": "dpmpp_2m_flow"}, "scheduler", ["(Flux.1): it needs"]),
        ([], {"shift": 3.0}, "shift", ["no static shift"]),
        ([], {"model": "sd3", "mu": 1.0}, "mu", ["takes no mu"]),
        ([], {"model": "sd3-without-t5", "prompt_3": "a dog"}, "prompt_3", ["no text_encoder_3"]),
        ([], {"model": "sd3-without-t5", "negative_prompt_3": "x"}, "negative_prompt_3", ["nothing reads"]),
        (
            [],
            {"model": "sd3-without-t5", "loras": [{"name": "a", "scale": {"text_encoder_3": 0.5}}]},
            "loras.0.scale.text_encoder_3",
            ["without text_encoder_3"],
        ),
        ([], {"sigmas": [1.5, 0.5]}, "sigmas", ["at most 1"]),
        ([], {"sigmas": [1.0, 0.0]}, "sigmas", ["above 0"]),
        ([], {"negative_prompt": "red"}, "negative_prompt", ["true_cfg_scale above 1"]),
        ([], {"model": "z", "latent_parallelism": "on"}, "latent_parallelism", ["is never split"]),
        (
            [],
            {"model": "sd3", "latent_parallelism": "on", "lora_loading": {"mode": "exact"}},
            "latent_parallelism",
            ["keeps whole"],
        ),
        ([], {"strength": 0.0, **IMAGE}, "strength", ["leaves none to run"]),
        (
            [],
            {"loras": [{"name": "a", "scale": {"unet": {"mid": 0.5}}}]},
            "loras.0.scale.unet",
            ["only SDXL and Stable Diffusion 1 or 2 take unet"],
        ),
    ],
)  # fmt: skip
def test_what_a_model_of_the_family_cannot_do_is_refused_by_name(
    transformers: Services, controlnets: list[str], fields: dict[str, Any], field: str, words: list[str]
) -> None:
    refused = refusal(transformers, *controlnets, **fields)
    assert refused.field == field
    for word in words:
        assert word in str(refused)


@pytest.mark.parametrize(
    ("controlnets", "fields", "steps"),
    [
        (["flux-5-10", "flux-5-10"], {"true_cfg_scale": 2.0, "negative_prompt": ""}, 28),
        (["flux-6-0"], IMAGE, 28),
        (["qwen-net", "qwen-net"], {"model": "qwen", "negative_prompt": "red"}, 50),
        ([], {"sigmas": [1.0, 0.7, 0.2]}, 3),
        ([], {"sigmas": [1.0]}, 1),
        ([], {"scheduler": "dpmpp_2m_flow"}, 28),
        ([], {"latent_parallelism": "on", "lora_loading": {"mode": "exact"}}, 28),
        ([], {"model": "sd3", "shift": 5.0, "scheduler": "flow_match_heun"}, 28),
        ([], {"model": "z", "num_inference_steps": 8, "strength": 0.1, **IMAGE}, 8),
        ([], {"model": "z", "strength": 0.5, **MASKED}, 50),
        (["z-mask"], {"model": "z", **MASKED}, 50),
        (["z-mask"], {"model": "z", "strength": 1.0, **MASKED}, 50),
    ],
)
def test_what_it_can_do_is_accepted(
    transformers: Services, controlnets: list[str], fields: dict[str, Any], steps: int
) -> None:
    spec = job(transformers, *controlnets, **fields)
    assert spec.num_inference_steps == steps
    assert len(spec.controlnets) == len(controlnets)


@pytest.mark.parametrize("name", ["sd3-mask", "qwen-mask"])
def test_a_controlnet_that_inpaints_is_shown_the_jobs_image(transformers: Services, name: str) -> None:
    fields = {"model": name.partition("-")[0], **MASKED}
    specs = [job(transformers, controlnets=[{"name": name, **shown}], **fields) for shown in ({}, IMAGE)]
    assert specs[0].controlnets[0].image == specs[0].image
    assert specs[1].controlnets == specs[0].controlnets
    assert specs[0].strength == 1.0
    mapped = [{"name": name, "preprocessor": "canny"}]
    assert refusal(transformers, controlnets=mapped, **fields).field == "controlnets.0.preprocessor"


@pytest.mark.parametrize("fields", [{}, MASKED], ids=["text", "mask"])
def test_any_other_controlnet_needs_an_image_of_its_own(
    transformers: Services, fields: dict[str, Any]
) -> None:
    refused = refusal(transformers, controlnets=[{"name": "flux-5-10"}], **fields)
    assert refused.field == "controlnets.0.image"
    assert str(refused) == "ControlNet 'flux-5-10' needs an image"


def test_what_a_controlnet_guides_is_known(transformers: Services) -> None:
    modes = {name: transformers.families.controlnet_modes(name) for name in CONTROLNETS}
    assert modes["flux-union"] == {"text", "image", "mask"}
    assert modes["sd3-net"] == modes["qwen-net"] == modes["z-net"] == {"text"}
    assert modes["sd3-mask"] == modes["qwen-mask"] == {"mask"}


@pytest.mark.parametrize(
    ("model", "controlnets", "fields", "is_read"),
    [
        ("flux", [], {"guidance_scale": 3.0}, True),
        ("sd3", [], {"guidance_scale": 3.0}, True),
        ("z", [], {"guidance_scale": 3.0}, True),
        ("schnell", [], {"guidance_scale": 3.0}, False),
        ("schnell", [], {}, True),
        ("schnell", ["schnell-plain"], {"guidance_scale": 3.0}, False),
        ("schnell", ["schnell-guided"], {"guidance_scale": 3.0}, True),
        ("qwen", [], {"guidance_scale": 3.0}, False),
        ("qwen", [], {}, True),
        ("qwen", ["qwen-net"], {"guidance_scale": 3.0}, False),
    ],
    ids=str,
)
def test_a_guidance_scale_that_nothing_reads_is_told(
    transformers: Services, model: str, controlnets: list[str], fields: dict[str, Any], is_read: bool
) -> None:
    image = base64_of(image_file())
    named = [{"name": name, "image": image} for name in controlnets]
    request = JobRequest.model_validate(
        {"prompt": "a cat", "model": model, "controlnets": named, "num_inference_steps": 4, **fields}
    )
    warnings = prepare(Source(request), transformers, LOCAL).warnings
    assert [sentence.split(":")[0] for sentence in warnings] == ["guidance_scale is ignored"] * (not is_read)


@pytest.mark.parametrize("scale", [0.0, 3.0, None])
def test_options_of_a_guidance_that_a_job_has_not_are_told(
    transformers: Services, scale: float | None
) -> None:
    fields = {"cfg_normalization": True, "cfg_truncation": 0.5, "guidance_scale": scale}
    request = JobRequest.model_validate({"prompt": "a cat", "model": "z"} | fields)
    warnings = prepare(Source(request), transformers, LOCAL).warnings
    told = ["cfg_normalization is ignored", "cfg_truncation is ignored"]
    assert [sentence.split(":")[0] for sentence in warnings] == (told if scale == 0 else [])


def test_a_replay_repeats_a_guidance_scale_that_nobody_asked_for(transformers: Services) -> None:
    receipt = receipt_of(job(transformers, model="schnell"))
    source = read_source(Submission(ReplayRequest(receipt=receipt)))
    assert source.request.guidance_scale == 3.5
    assert list(prepare(source, transformers, LOCAL).warnings) == []


def test_a_job_has_the_control_range_of_the_catalog(transformers: Services) -> None:
    path, source = transformers.settings.catalog, 'source = "nets/sd3-net"'
    path.write_text(path.read_text().replace(source, f"{source}\ncontrol_range = [0.5, 128.0]"))
    services = replace(transformers, catalog=read_catalog(path))
    spec = job(services, "sd3-net", "sd3-small", model="sd3", width=512, height=512)
    assert [one.control_range for one in spec.controlnets] == [(0.5, 128.0), None]


@pytest.mark.parametrize(("name", "model"), [("sd3-mask", "sd3"), ("qwen-mask", "qwen")])
def test_a_control_range_of_a_controlnet_that_inpaints_is_refused(
    transformers: Services, name: str, model: str
) -> None:
    path, source = transformers.settings.catalog, f'source = "nets/{name}"'
    path.write_text(path.read_text().replace(source, f"{source}\ncontrol_range = [0.5, 128.0]"))
    services = replace(transformers, catalog=read_catalog(path))
    fields = {"model": model, "controlnets": [{"name": name}], **MASKED}
    assert job(transformers, **fields).controlnets[0].control_range is None
    refused = refusal(services, **fields)
    assert refused.field == "controlnets.0.name"
    assert str(refused).startswith(f"ControlNet {name!r}: the catalog's control_range changes nothing")


def test_a_lora_of_another_family_is_refused_at_submit(transformers: Services) -> None:
    name = "double_blocks.0.img_attn.qkv"
    file = safetensors({f"{name}.lora_A.weight": [4, 3072], f"{name}.lora_B.weight": [9216, 4]})
    transformers.loras.put("style.safetensors", file, content_type="application/octet-stream")
    assert job(transformers, loras=[{"name": "style"}]).loras[0].name == "style"
    refused = refusal(transformers, model="sd3", loras=[{"name": "style"}])
    assert refused.field == "loras.0.name"
    assert str(refused) == (
        "LoRA 'style' was trained for Flux.1; the model is Stable Diffusion 3: it does not fit 'sd3'"
    )


def test_a_lora_of_a_wider_transformer_is_refused_at_submit(transformers: Services) -> None:
    name = "double_blocks.0.img_attn.qkv"
    file = safetensors({f"{name}.lora_A.weight": [4, 6144], f"{name}.lora_B.weight": [18432, 4]})
    transformers.loras.put("wide.safetensors", file, content_type="application/octet-stream")
    refused = refusal(transformers, loras=[{"name": "wide"}])
    assert refused.field == "loras.0.name"
    assert str(refused) == (
        "LoRA 'wide' trains double_blocks_img_attn_qkv of 6144 inputs; that of the model, Flux.1, has 3072:"
        " it does not fit 'flux'"
    )


def test_a_lora_of_a_second_clip_alone_is_for_models_that_have_one_of_its_width(
    transformers: Services, tmp_path: Path
) -> None:
    name = "text_encoder_2.encoder.layers.0.mlp.fc1"
    file = safetensors({f"{name}.lora_A.weight": [4, 1280], f"{name}.lora_B.weight": [5120, 4]})
    transformers.loras.put("texts.safetensors", file, content_type="application/octet-stream")
    config = tmp_path / "sd3/text_encoder_2/config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('{"hidden_size": 1280}')
    assert job(transformers, model="sd3", loras=[{"name": "texts"}]).loras[0].name == "texts"
    # When the model's is another, then it is refused, as it is where that is no CLIP
    assert "trains a CLIP as text_encoder_2" in str(refusal(transformers, loras=[{"name": "texts"}]))
    config.write_text('{"hidden_size": 32}')
    other = with_transformers(transformers, tmp_path)
    why = str(refusal(other, model="sd3", loras=[{"name": "texts"}]))
    assert "of width 1280; that of the model has width 32: it does not fit 'sd3'" in why
