"""Options of A1111's API: read, set, and kept for nobody else."""

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.compat.a1111.options import DEFAULTS
from api.services import Services
from shared.keys import LOCAL
from tests.api.api_keys import basic, make_key, make_tenant

URL = "/sdapi/v1/options"


def test_options_name_the_model_and_what_clients_show(client: FlaskClient) -> None:
    options = client.get(URL).json
    assert options["sd_model_checkpoint"] == "emoji-sd"
    assert (options["samples_format"], options["CLIP_stop_at_last_layers"]) == ("png", 1)
    assert options.keys() == DEFAULTS.keys()


def test_all_options_can_be_sent_back(client: FlaskClient) -> None:
    options = client.get(URL).json
    answer = client.post(URL, json=options)
    assert (answer.status_code, answer.data) == (200, b"null\n")
    assert client.get(URL).json == options


def test_unknown_options_are_ignored_and_known_ones_stay_set(client: FlaskClient) -> None:
    answer = client.post(URL, json={"CLIP_stop_at_last_layers": 2, "forge_preset": "sd", "outdir": ["x"]})
    assert answer.status_code == 200
    assert client.post(URL, json={"samples_format": "jpg", "jpeg_quality": 80}).status_code == 200
    options = client.get(URL).json
    assert (options["CLIP_stop_at_last_layers"], options["samples_format"]) == (2, "jpeg")
    assert options["jpeg_quality"] == 80
    assert options.keys() == DEFAULTS.keys()


@pytest.mark.parametrize("name", ["emoji-sd", "emoji-sd [0123abcd]", "emoji-sd.safetensors", "", None])
def test_a_checkpoint_is_found_by_the_names_that_clients_have_for_it(
    client: FlaskClient, name: str | None
) -> None:
    assert client.post(URL, json={"sd_model_checkpoint": name}).status_code == 200
    assert client.get(URL).json["sd_model_checkpoint"] == "emoji-sd"


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"sd_model_checkpoint": "v1-5-pruned"}, 404, "v1-5-pruned"),
        ({"sd_vae": "anime.vae.pt"}, 422, "sd_vae"),
        ({"eta_noise_seed_delta": 31337}, 422, "eta_noise_seed_delta"),
        ({"CLIP_stop_at_last_layers": "many"}, 422, "CLIP_stop_at_last_layers"),
        ({"CLIP_stop_at_last_layers": -1}, 422, "CLIP_stop_at_last_layers"),
        ({"samples_format": "gif"}, 422, "samples_format"),
        ({"sd_model_checkpoint": ["emoji-sd"]}, 422, "sd_model_checkpoint"),
    ],
)
def test_an_option_that_nothing_here_does_is_refused_and_sets_nothing(
    client: FlaskClient, options: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post(URL, json={"jpeg_quality": 50, **options})
    assert answer.status_code == status
    assert said in str(answer.json["detail"])
    assert "override_settings" not in answer.text
    assert client.get(URL).json["jpeg_quality"] == DEFAULTS["jpeg_quality"]


def test_an_unknown_checkpoint_is_refused_in_a1111s_shape(client: FlaskClient) -> None:
    answer = client.post(URL, json={"sd_model_checkpoint": "v1-5-pruned"})
    assert answer.json.keys() == {"error", "detail", "body", "errors"}
    assert "emoji-sd" in answer.json["detail"]


@pytest.mark.parametrize("body", ["[]", "null", "{", ""])
def test_options_that_are_no_object_are_refused(client: FlaskClient, body: str) -> None:
    answer = client.post(URL, data=body, content_type="application/json")
    assert answer.status_code in (400, 422)
    assert answer.json.keys() == {"error", "detail", "body", "errors"}


def test_each_key_has_options_of_its_own(keyed_client: FlaskClient) -> None:
    make_tenant(keyed_client, "acme")
    keys = [basic("any", make_key(keyed_client, tenant)) for tenant in ("acme", "acme", "local")]
    assert keyed_client.post(URL, json={"jpeg_quality": 50}, headers=keys[0]).status_code == 200
    qualities = [keyed_client.get(URL, headers=key).json["jpeg_quality"] for key in keys]
    assert qualities == [50, DEFAULTS["jpeg_quality"], DEFAULTS["jpeg_quality"]]


def test_options_are_forgotten_some_time_after_their_last_use(
    client: FlaskClient, services: Services
) -> None:
    client.post(URL, json={"jpeg_quality": 50})
    [name] = services.control.keys("swift:options:*")
    assert name == f"swift:options:{LOCAL}"  # with authentication off everybody is one caller
    ttl_s = services.settings.a1111_options_ttl_s
    assert ttl_s - 5 <= services.control.ttl(name) <= ttl_s
    services.control.expire(name, 5)
    client.get(URL)
    assert ttl_s - 5 <= services.control.ttl(name) <= ttl_s
    services.control.delete(name)
    assert client.get(URL).json["jpeg_quality"] == DEFAULTS["jpeg_quality"]


def test_a_model_that_is_gone_from_the_catalog_is_no_option(client: FlaskClient, services: Services) -> None:
    services.control.hset(f"swift:options:{LOCAL}", "sd_model_checkpoint", '"retired"')
    assert client.get(URL).json["sd_model_checkpoint"] == "emoji-sd"


def test_open_webui_reads_the_models_and_chooses_one(client: FlaskClient) -> None:
    """The calls of Open WebUI (``backend/open_webui/routers/images.py``), which cannot be run here."""
    headers = {"authorization": "Basic " + base64.b64encode(b"").decode()}  # what it sends without a login
    # verify_url
    assert client.get(URL, headers=headers).status_code == 200
    # get_models
    models = client.get("/sdapi/v1/sd-models", headers=headers).json
    shown = [{"id": model["title"], "name": model["model_name"]} for model in models]
    assert shown == [{"id": "emoji-sd", "name": "emoji-sd"}]
    # set_image_model: what it has read goes back as a whole
    options = client.get(URL, headers=headers).json
    options["sd_model_checkpoint"] = shown[0]["id"]
    assert client.post(URL, json=options, headers=headers).status_code == 200
    # get_image_model
    assert client.get(URL, headers=headers).json["sd_model_checkpoint"] == shown[0]["id"]


@pytest.mark.parametrize("user", ["", "anybody"])
def test_sillytavern_lists_all_and_chooses_a_model(keyed_client: FlaskClient, user: str) -> None:
    """The calls of SillyTavern (``src/endpoints/stable-diffusion.js``), which cannot be run here."""
    headers = basic(user, make_key(keyed_client))

    def get(path: str) -> Any:
        answer = keyed_client.get(f"/sdapi/v1/{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json

    get("options")  # /ping
    upscalers = [one["name"] for one in get("upscalers")]
    upscalers[1:1] = [one["name"] for one in get("latent-upscale-modes")]
    assert upscalers[0] == "None"  # it shows latent upscalers behind the first one
    assert [one["model_name"] for one in get("sd-vae")] == []
    assert "Euler a" in [one["name"] for one in get("samplers")]
    assert "karras" in [one["name"] for one in get("schedulers")]
    models = [one["title"] for one in get("sd-models")]
    assert get("options")["sd_model_checkpoint"] in models  # /get-model
    # /set-model, after which it waits until nothing is generated
    answer = keyed_client.post(URL, json={"sd_model_checkpoint": models[0]}, headers=headers)
    assert answer.status_code == 200
