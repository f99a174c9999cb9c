from dataclasses import replace

from flask.testing import FlaskClient

from api.app import create_app
from api.services import Services
from shared.catalog.entries import Catalog, ModelEntry
from shared.catalog.schedulers import DIFFUSION_SCHEDULERS, SCHEDULERS
from shared.registry.workers import publish_heartbeat
from tests.api.services import heartbeat


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
    assert (model["true_cfg_scale"], model["max_sequence_length"]) == (None, None)
    assert model["controlnets"] == ["edge", "colour"]
    assert model["workers"] == ["unet-1", "unet-2"]
    assert model["loaded"] == ["unet-1"]


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
            "modes": ["text", "image", "mask"],
            "workers": ["net-1"],
            "loaded": ["net-1"],
            "load_errors": {},
        },
        {
            "name": "colour",
            "model": "emoji-sd",
            "models": ["emoji-sd"],
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
