from dataclasses import replace
from pathlib import Path

from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from shared.catalog.entries import Catalog, ControlNetEntry, ModelEntry
from shared.catalog.schedulers import DIFFUSION_SCHEDULERS, SCHEDULERS
from shared.registry.workers import publish_heartbeat
from tests.api.services import heartbeat
from tests.api.transformer_catalog import with_transformers


def test_a_model_is_listed_with_its_defaults_and_workers(client: FlaskClient, services: Services) -> None:
    publish_heartbeat(services.control, heartbeat("unet-1", "unet", "emoji-sd", ["emoji-sd"]), 10)
    publish_heartbeat(services.control, heartbeat("unet-2", "unet", "emoji-sd", []), 10)
    publish_heartbeat(services.control, heartbeat("unet-3", "unet", "another", []), 10)
    (model,) = client.get("/v1/models").json["models"]
    assert (model["name"], model["default"], model["scheduler"]) == ("emoji-sd", True, "ddim")
    assert (model["num_inference_steps"], model["guidance_scale"]) == (25, 3.0)
    assert (model["width"], model["height"]) == (64, 64)
    assert model["schedulers"] == list(DIFFUSION_SCHEDULERS)
    assert model["step_limits"]["dpmpp_2m_beta"] == {"min_steps": 1, "max_steps": 23}
    assert model["step_limits"]["pndm"] == {"min_steps": 4, "max_steps": 1000}
    assert "ddim" not in model["step_limits"]
    assert (model["family"], model["size_multiple"]) == ("sd1", 8)
    assert model["fields"] == ["clip_skip", "guess_mode", "guidance_rescale", "long_prompt"]
    assert model["modes"] == model["controlnet_modes"] == ["text", "image", "mask"]
    assert model["controlnet_fields"] == dict.fromkeys(model["modes"], model["fields"])
    assert (model["max_controlnets"], model["sums_controlnets"]) == (8, True)
    assert (model["true_cfg_scale"], model["max_sequence_length"]) == (None, None)
    assert (model["max_side_px"], model["max_sequence_length_limit"]) == (services.settings.max_side_px, None)
    assert model["controlnets"] == ["edge", "colour"]
    assert model["workers"] == ["unet-1", "unet-2"]
    assert model["loaded"] == ["unet-1"]


def test_no_default_is_above_the_operators_limit(services: Services) -> None:
    limited = replace(services, settings=services.settings.model_copy(update={"max_steps": 20}))
    (model,) = create_app(limited).test_client().get("/v1/models").json["models"]
    usual = [*model["defaults"].values(), *model["controlnet_defaults"].values()]
    assert {model["num_inference_steps"], *(one["num_inference_steps"] for one in usual)} == {20}


def test_schedulers_are_listed_with_the_fields_they_take(client: FlaskClient) -> None:
    schedulers = {one["name"]: one for one in client.get("/v1/models").json["schedulers"]}
    assert list(schedulers) == list(SCHEDULERS)
    assert schedulers["euler"]["takes"] == ["sigmas", "timesteps"]
    assert schedulers["dpmpp_2m_karras"] == {
        "name": "dpmpp_2m_karras",
        "diffusers_class": "DPMSolverMultistepScheduler",
        "options": {"use_karras_sigmas": True},
        "takes": [],
        "min_steps": 1,
        "max_steps": 1000,
    }
    assert schedulers["flow_match_euler"]["takes"] == ["sigmas"]


def test_a_controlnet_is_listed_with_its_models_and_workers(client: FlaskClient, services: Services) -> None:
    publish_heartbeat(services.control, heartbeat("net-1", "controlnet", "edge", ["edge"]), 10)
    publish_heartbeat(services.control, heartbeat("unet-1", "unet", "edge", []), 10)
    assert client.get("/v1/controlnets").json["controlnets"] == [
        {
            "name": "edge",
            "model": "emoji-sd",
            "models": ["emoji-sd"],
            "layout": "",
            "control_modes": 0,
            "control_mode_names": [],
            "max_side_px": None,
            "modes": ["text", "image", "mask"],
            "workers": ["net-1"],
            "loaded": ["net-1"],
            "load_errors": {},
        },
        {
            "name": "colour",
            "model": "emoji-sd",
            "models": ["emoji-sd"],
            "layout": "",
            "control_modes": 0,
            "control_mode_names": [],
            "max_side_px": None,
            "modes": ["text", "image", "mask"],
            "workers": [],
            "loaded": [],
            "load_errors": {},
        },
    ]


def test_preprocessors_are_listed_with_their_options(client: FlaskClient) -> None:
    listed = {one["name"]: one["options"] for one in client.get("/v1/controlnets").json["preprocessors"]}
    assert list(listed)[:2] == ["none", "canny"]
    assert listed["none"] == {}
    assert listed["canny"]["low_threshold"]["default"] == 100
    assert listed["blur_gaussian"]["sigma"]["maximum"] == 64


def test_the_catalog_sets_a_models_size_and_an_unknown_size_is_null(services: Services) -> None:
    models = {
        "a": services.catalog.models["emoji-sd"].model_copy(update={"width": 96}),
        "b": ModelEntry(source="hub:x/b"),
    }
    catalog = Catalog(default_model="a", models=models)
    models = create_app(replace(services, catalog=catalog)).test_client().get("/v1/models").json["models"]
    assert [(model["width"], model["height"]) for model in models] == [(96, 64), (None, None)]


def test_every_preprocessor_has_a_description(client: FlaskClient) -> None:
    preprocessors = client.get("/v1/controlnets").json["preprocessors"]
    descriptions = {one["name"]: one["description"] for one in preprocessors}
    assert "inverted" in descriptions["invert"]
    assert len(set(descriptions.values())) == len(descriptions)


def test_what_jobs_with_controlnets_are_refused_by_is_listed(services: Services, tmp_path: Path) -> None:
    client = create_app(with_transformers(services, tmp_path)).test_client()
    models = {one["name"]: one for one in client.get("/v1/models").json["models"]}
    # Flux's ControlNets that begin from an image have no second forward
    flux = models["flux"]
    assert flux["controlnet_fields"]["text"] == flux["fields"]
    gone = {"negative_prompt_2", "true_cfg_scale"}
    assert set(flux["fields"]) - set(flux["controlnet_fields"]["image"]) == gone
    # diffusers cannot give them the mu that a dynamic shift needs
    assert models["sd3-dynamic"]["controlnet_modes"] == []
    assert models["sd3-dynamic"]["controlnet_fields"] == {}
    # of a static shift, which the pipeline gives a dynamic one
    assert set(flux["schedulers"]) - set(models["schnell"]["schedulers"]) == {"dpmpp_2m_flow"}
    assert {name: (one["max_controlnets"], one["sums_controlnets"]) for name, one in models.items()} == {
        "flux": (8, True),
        "schnell": (8, True),
        "sd3": (8, True),
        "sd3-dynamic": (8, True),
        "sd3-without-t5": (8, True),
        "qwen": (8, False),
        "z": (1, True),
    }
    controlnets = {one["name"]: one for one in client.get("/v1/controlnets").json["controlnets"]}
    assert controlnets["flux-6-0"]["layout"] == "6/0 residuals"
    assert controlnets["flux-6-0"]["control_modes"] == 0
    assert controlnets["flux-union"]["control_modes"] == 10
    names = ["canny", "tile", "depth", "blur", "pose", "gray", "low quality"]
    assert controlnets["flux-union"]["control_mode_names"] == names
    assert {name: controlnets[name]["max_side_px"] for name in ("flux-union", "sd3-net", "sd3-small")} == {
        "flux-union": None, "sd3-net": 96 * 16, "sd3-small": 48 * 16,
    }  # fmt: skip
    assert {name: (one["max_side_px"], one["max_sequence_length_limit"]) for name, one in models.items()} == {
        "flux": (2048, 512), "schnell": (2048, 512), "qwen": (2048, 1024), "z": (2048, 1024),
        **dict.fromkeys(("sd3", "sd3-dynamic", "sd3-without-t5"), (96 * 16, 512)),
    }  # fmt: skip


def test_of_a_controlnet_on_the_hub_nothing_is_known(services: Services) -> None:
    model, controlnet = ModelEntry(source="hub:x/m"), ControlNetEntry(source="hub:x/c", model=("m",))
    catalog = Catalog(default_model="m", models={"m": model}, controlnets={"c": controlnet})
    client = create_app(replace(services, catalog=catalog)).test_client()
    (one,) = client.get("/v1/controlnets").json["controlnets"]
    assert (one["layout"], one["control_modes"], one["control_mode_names"]) == (None, None, None)
    (found,) = client.get("/v1/models").json["models"]
    assert (found["controlnet_fields"], found["max_controlnets"], found["sums_controlnets"]) == (
        None,
        8,
        True,
    )
