from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.schemas.job_request import JobRequest
from api.services import Services
from shared.catalog.entries import Catalog, ControlNetEntry, ModelEntry
from shared.errors import InvalidRequest
from shared.jobs.spec import LoraRef
from shared.message_base import MAX_SEED
from tests.api.services import edge, lora, resolved, safetensors


def refusal(client: FlaskClient, **request: Any) -> dict[str, Any]:
    """The problem that a bad job is refused with; nothing of it may be stored."""
    answer = client.post("/v1/jobs", json={"prompt": "a cat", **request})
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert client.get("/v1/jobs").json["jobs"] == []
    problem: dict[str, Any] = answer.json
    return problem


def test_a_prompt_alone_gets_the_models_own_defaults(services: Services) -> None:
    spec = resolved(JobRequest(prompt="a cat"), services)
    model = services.catalog.models["emoji-sd"]
    assert (spec.model, spec.scheduler) == ("emoji-sd", model.scheduler)
    assert (spec.num_inference_steps, spec.guidance_scale) == (
        model.num_inference_steps,
        model.guidance_scale,
    )
    assert (spec.width, spec.height) == (None, None)
    assert 0 <= spec.seed < 2**32


def test_the_catalogs_size_is_the_default_when_it_has_one(services: Services) -> None:
    catalog = Catalog(default_model="m", models={"m": ModelEntry(source="hub:x/y", width=768, height=512)})
    spec = resolved(JobRequest(prompt="a cat", width=256), replace(services, catalog=catalog))
    assert (spec.width, spec.height) == (256, 512)


def test_zero_guidance_is_kept(services: Services) -> None:
    assert resolved(JobRequest(prompt="a cat", guidance_scale=0), services).guidance_scale == 0


def test_an_unknown_field_is_refused_by_its_name(client: FlaskClient) -> None:
    problem = refusal(client, steps=3)
    assert problem["field"] == "steps"
    assert problem["detail"] == "steps: unknown field; did you mean num_inference_steps?"


def test_an_unknown_field_of_a_controlnet_is_refused_by_its_path(client: FlaskClient) -> None:
    assert refusal(client, controlnets=[edge(strength=1)])["field"] == "controlnets.0.strength"


def test_every_field_at_fault_is_named(client: FlaskClient) -> None:
    problem = refusal(client, width=63, guidance_scale=-1)
    assert {error["field"] for error in problem["errors"]} == {"width", "guidance_scale"}


def test_an_unknown_model_is_refused_with_the_known_ones(client: FlaskClient) -> None:
    problem = refusal(client, model="sdxl")
    assert problem["field"] == "model"
    assert "sdxl" in problem["detail"]
    assert "emoji-sd" in problem["detail"]


def test_an_unknown_scheduler_is_refused_with_the_known_ones(client: FlaskClient) -> None:
    problem = refusal(client, scheduler="plms")
    assert problem["field"] == "scheduler"
    assert "ddim" in problem["detail"]
    assert "unipc" in problem["detail"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": "emoji_sd"}, "did you mean emoji-sd?"),
        ({"scheduler": "unip"}, "did you mean unipc?"),
        ({"controlnets": [edge(name="edges")]}, "did you mean edge?"),
        ({"controlnets": [edge(preprocessor="cany")]}, "did you mean canny?"),
    ],
    ids=str,
)
def test_a_misspelt_name_gets_a_suggestion(client: FlaskClient, fields: dict[str, Any], told: str) -> None:
    assert told in refusal(client, **fields)["detail"]


@pytest.mark.parametrize("field", ["model", "scheduler"])
def test_an_empty_name_is_no_default(client: FlaskClient, field: str) -> None:
    assert refusal(client, **{field: ""})["field"] == field


@pytest.mark.parametrize("scheduler", ["EulerAncestralDiscreteScheduler", "Euler a", "euler_ancestral"])
def test_a_job_holds_the_own_name_of_its_scheduler(
    client: FlaskClient, services: Services, scheduler: str
) -> None:
    answer = client.post("/v1/jobs", json={"prompt": "a cat", "scheduler": scheduler})
    assert services.jobs.get(answer.json["id"]).spec.scheduler == "euler_a"


def test_very_many_mistakes_are_not_all_named(client: FlaskClient) -> None:
    answer = client.post("/v1/jobs", json={"receipt": {f"{i}{'x' * 1000}": 1 for i in range(2000)}})
    assert answer.status_code == 422
    assert len(answer.data) < 50_000


def test_an_unknown_controlnet_is_refused_with_the_known_ones(client: FlaskClient) -> None:
    problem = refusal(client, controlnets=[edge() | {"name": "canny"}])
    assert problem["field"] == "controlnets.0.name"
    assert "edge" in problem["detail"]


def test_a_controlnet_of_another_model_is_refused_naming_both(services: Services) -> None:
    catalog = Catalog(
        default_model="a",
        models={"a": ModelEntry(source="hub:x/a"), "b": ModelEntry(source="hub:x/b")},
        controlnets={"edge": ControlNetEntry(source="hub:x/edge", model="b")},
    )
    client = create_app(replace(services, catalog=catalog)).test_client()
    problem = refusal(client, controlnets=[edge()])
    assert problem["field"] == "controlnets.0.name"
    assert "'a'" in problem["detail"]
    assert "'b'" in problem["detail"]


def test_a_controlnet_of_several_models_guides_each_of_them_and_no_other(services: Services) -> None:
    catalog = Catalog(
        default_model="a",
        models={name: ModelEntry(source=f"hub:x/{name}") for name in "abc"},
        controlnets={"edge": ControlNetEntry(source="hub:x/edge", model=["a", "b"])},
    )
    client = create_app(replace(services, catalog=catalog)).test_client()
    problem = refusal(client, model="c", controlnets=[edge()])
    assert problem["detail"] == "ControlNet 'edge' was trained for model 'a', 'b', not for 'c'"
    for model in "ab":
        job = {"model": model, "prompt": "a cat", "controlnets": [edge()]}
        assert client.post("/v1/jobs", json=job).status_code == 202
    told = client.get("/v1/models").json["models"]
    assert [model["controlnets"] for model in told] == [["edge"], ["edge"], []]
    assert client.get("/v1/controlnets").json["controlnets"][0]["models"] == ["a", "b"]


def test_an_unknown_lora_is_refused_with_the_known_ones(client: FlaskClient, services: Services) -> None:
    services.loras.put("anime.safetensors", lora(), content_type="application/octet-stream")
    problem = refusal(client, loras=[{"name": "anime"}, {"name": "paper"}])
    assert problem["field"] == "loras.1.name"
    assert "paper" in problem["detail"]
    assert "anime" in problem["detail"]


def test_an_unknown_lora_among_very_many_names_only_the_first_dozens(
    client: FlaskClient, services: Services
) -> None:
    for i in range(40):
        services.loras.put(f"lora-{i:02}.safetensors", b"", content_type="application/octet-stream")
    detail = refusal(client, loras=[{"name": "paper"}])["detail"]
    assert "lora-00" in detail
    assert "lora-39" not in detail
    assert "/v1/loras" in detail


@pytest.mark.parametrize("name", ["../secrets", "", "a/b", "x" * 200])
def test_a_lora_name_that_cannot_be_one_is_refused(client: FlaskClient, name: str) -> None:
    problem = refusal(client, loras=[{"name": name}])
    assert problem["field"] == "loras.0.name"
    assert f"{name!r} is no LoRA name: " in problem["detail"]


def test_the_same_lora_twice_is_refused(client: FlaskClient, services: Services) -> None:
    services.loras.put("anime.safetensors", lora(), content_type="application/octet-stream")
    problem = refusal(client, loras=[{"name": "anime"}, {"name": "anime", "scale": 0.5}])
    assert problem["field"] == "loras.1.name"


def test_a_lora_over_the_limit_is_refused(services: Services) -> None:
    services.loras.put("anime.safetensors", lora(), content_type="application/octet-stream")
    tight = replace(services, settings=services.settings.model_copy(update={"max_lora_bytes": 100}))
    assert refusal(create_app(tight).test_client(), loras=[{"name": "anime"}])["field"] == "loras.0.name"


def test_a_file_that_is_no_lora_is_refused_before_a_worker_meets_it(
    client: FlaskClient, services: Services
) -> None:
    services.loras.put("broken.safetensors", lora()[:-1], content_type="application/octet-stream")
    problem = refusal(client, loras=[{"name": "broken"}])
    assert problem["field"] == "loras.0.name"
    assert "its header says" in problem["detail"]


def test_a_lora_of_another_family_is_refused_with_the_reason(client: FlaskClient, services: Services) -> None:
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
    data = safetensors({f"{key}.lora_down.weight": [4, 2048], f"{key}.lora_up.weight": [640, 4]})
    services.loras.put("large.safetensors", data, content_type="application/octet-stream")
    problem = refusal(client, loras=[{"name": "large"}])
    assert problem["field"] == "loras.0.name"
    for told in ("'large'", "sdxl", "2048", "'emoji-sd'", "width 128"):
        assert told in problem["detail"]


def test_the_embedded_loras_fit_their_model(client: FlaskClient, services: Services) -> None:
    for file in (services.settings.catalog.parent / "emoji" / "loras").glob("*.safetensors"):
        services.loras.put(file.name, file.read_bytes(), content_type="application/octet-stream")
        name = file.name.removesuffix(".safetensors")
        assert client.post("/v1/jobs", json={"prompt": "a cat", "loras": [{"name": name}]}).status_code == 202
        assert client.get(f"/v1/loras/{name}").json["cross_attention_dim"] is not None


def test_a_lora_is_resolved_to_the_version_that_is_there_now(services: Services) -> None:
    etag = services.loras.put("anime.safetensors", lora(), content_type="application/octet-stream")
    request = JobRequest.model_validate({"prompt": "a cat", "loras": [{"name": "anime", "scale": 0.5}]})
    (ref,) = resolved(request, services).loras
    assert (ref.name, ref.etag, ref.size_bytes, ref.scale) == ("anime", etag, len(lora()), 0.5)


def test_scales_of_parts_and_blocks_reach_the_job_as_they_were_asked(services: Services) -> None:
    services.loras.put("anime.safetensors", lora(), content_type="application/octet-stream")
    scale = {"unet": {"up": {"block_1": [0.2, 0.4]}}, "text_encoder": 0.5}
    request = JobRequest.model_validate({"prompt": "a cat", "loras": [{"name": "anime", "scale": scale}]})
    (ref,) = resolved(request, services).loras
    assert ref.model_dump(mode="json", exclude_defaults=True)["scale"] == scale
    assert LoraRef.model_validate_json(ref.model_dump_json()) == ref


@pytest.mark.parametrize(
    ("scale", "field"),
    [
        (11, "scale"),
        ({"vae": 1.0}, "scale.vae"),
        ({"unet": {"up": {"block_1": [0.2, 99]}}}, "scale.unet.up.block_1.1"),
        ({"unet": {"up": {"block_1": [0.2] * 33}}}, "scale.unet.up.block_1"),
        ({"unet": {"down": {f"block_{i}": 1 for i in range(33)}}}, "scale.unet.down"),
    ],
)
def test_a_scale_that_is_none_is_refused_at_its_field(client: FlaskClient, scale: object, field: str) -> None:
    assert refusal(client, loras=[{"name": "anime", "scale": scale}])["field"] == f"loras.0.{field}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 65),
        ("height", 0),
        ("width", 2056),
        ("height", 1_000_000),
        ("num_inference_steps", 0),
        ("num_inference_steps", 201),
        ("guidance_scale", -0.5),
        ("guidance_scale", 101),
        ("guidance_scale", "NaN"),
        ("num_images", 0),
        ("num_images", 9),
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("prompt", None),
        ("prompt", "x" * 10_001),
        ("controlnets", [{}] * 9),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_field(client: FlaskClient, field: str, value: Any) -> None:
    problem = refusal(client, **{field: value})
    assert problem["field"].split(".")[0] == field
    assert field in problem["detail"]


def test_the_error_names_the_operators_limit(client: FlaskClient) -> None:
    assert (
        refusal(client, num_inference_steps=1000)["detail"] == "num_inference_steps is 1000, the limit is 200"
    )


def test_the_seed_of_the_last_image_must_be_in_range_too(services: Services) -> None:
    assert resolved(JobRequest(prompt="a cat", seed=MAX_SEED), services).seed == MAX_SEED
    with pytest.raises(InvalidRequest, match="seed"):
        resolved(JobRequest(prompt="a cat", seed=MAX_SEED, num_images=2), services)


def test_a_loss_is_refused_where_the_job_shall_be_exact(client: FlaskClient) -> None:
    problem = refusal(client, residual_precision="int8", lora_loading={"mode": "exact"})
    assert "residual_precision 'int8'" in problem["detail"]


def test_a_controlnet_that_ends_before_it_starts_is_refused(client: FlaskClient) -> None:
    problem = refusal(client, controlnets=[edge(guidance_start=0.6, guidance_end=0.5)])
    assert problem["field"] == "controlnets.0"
    assert problem["detail"] == "controlnets.0: guidance_start must be less than guidance_end"


@pytest.mark.parametrize("steps", [{}, {"anime": 1, "paper": 2}, {"paper": 1}])
def test_a_replay_names_exactly_the_jobs_loras(
    client: FlaskClient, services: Services, steps: dict[str, int]
) -> None:
    services.loras.put("anime.safetensors", lora(), content_type="application/octet-stream")
    loading = {"mode": "replay", "steps": steps}
    problem = refusal(client, loras=[{"name": "anime"}], lora_loading=loading)
    assert problem["field"] == "lora_loading.steps"
    assert "anime" in problem["detail"]


def test_a_replay_behind_the_last_step_is_refused(client: FlaskClient, services: Services) -> None:
    services.loras.put("anime.safetensors", lora(), content_type="application/octet-stream")
    loading = {"mode": "replay", "steps": {"anime": 21}}
    problem = refusal(client, num_inference_steps=10, loras=[{"name": "anime"}], lora_loading=loading)
    assert problem["field"] == "lora_loading.steps.anime"


@pytest.mark.parametrize(
    ("scheduler", "steps"),
    [
        ("lcm", 51),
        ("tcd", 51),
        ("pndm", 3),
        *(
            (f"{name}_beta", 25)
            for name in ("dpmpp_2m", "deis", "dpmpp_2m_sde", "dpmpp_sde", "sa_solver", "unipc")
        ),
        ("dpmpp_2m_beta", 24),
    ],
)
def test_steps_that_a_scheduler_cannot_make_with_the_model_are_refused(
    client: FlaskClient, scheduler: str, steps: int
) -> None:
    problem = refusal(client, scheduler=scheduler, num_inference_steps=steps)
    assert problem["field"] == "num_inference_steps"
    assert scheduler in problem["detail"]


def test_a_preprocessor_that_needs_a_model_is_refused_with_the_available_ones(client: FlaskClient) -> None:
    problem = refusal(client, controlnets=[edge(preprocessor="openpose")])
    assert problem["field"] == "controlnets.0.preprocessor"
    assert "openpose" in problem["detail"]
    assert "canny" in problem["detail"]


def test_a_wrong_option_of_a_preprocessor_is_named(client: FlaskClient) -> None:
    controlnet = edge(preprocessor="canny", preprocessor_options={"low": 1})
    problem = refusal(client, controlnets=[controlnet])
    assert problem["field"] == "controlnets.0.preprocessor_options"
    assert "'low'" in problem["detail"]
