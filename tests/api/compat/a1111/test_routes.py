"""A1111's API as a whole: keys, whose calls are seen, and what clients ask for that generates nothing."""

import contextlib
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sd_backend_client import connect_to_backend
from sd_backend_client.api.a1111_webservice import A1111Webservice
from webuiapi import WebUIApi

from api.services import Services
from shared.catalog.preprocessors import PREPROCESSORS
from shared.errors import Unavailable
from shared.keys import LOCAL
from tests.api.api_keys import BOOTSTRAP_KEY, UNKNOWN_KEY, basic, bearer, make_key, make_tenant
from tests.api.compat.fake_worker import FakeWorker
from tests.api.services import OCTETS, lora
from tests.node_scripts import NodeScripts

PROGRESS, INTERRUPT, JOBS = "/sdapi/v1/progress", "/sdapi/v1/interrupt", "/v1/jobs"


@pytest.mark.parametrize("header", [basic("me", BOOTSTRAP_KEY), basic(BOOTSTRAP_KEY, ""), bearer()])
def test_the_key_is_the_password_or_the_user_part_of_a_url(
    header: dict[str, str], keyed_client: FlaskClient
) -> None:
    assert keyed_client.get(PROGRESS, headers=header).json["state"]["job_count"] == 0
    assert keyed_client.post(INTERRUPT, headers=header).json == {}


@pytest.mark.parametrize(
    ("header", "code"), [({}, "key_missing"), (basic("me", "secret"), "key_malformed"),
    (basic("me", UNKNOWN_KEY), "key_unknown")],
)  # fmt: skip
def test_a_missing_or_wrong_key_is_refused_in_a1111_s_shape(
    header: dict[str, str], code: str, keyed_client: FlaskClient
) -> None:
    answer = keyed_client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"}, headers=header)
    assert (answer.status_code, answer.json["error"]) == (401, code)
    assert set(answer.json) == {"error", "detail", "body", "errors"}


def test_progress_and_interrupt_are_about_the_tenant_s_own_calls(
    keyed_client: FlaskClient, services: Services
) -> None:
    headers = []
    for tenant in ("acme", "globex"):
        make_tenant(keyed_client, tenant)
        headers.append(basic("me", make_key(keyed_client, tenant, scopes=["jobs"])))
    own, others = headers
    job_id = keyed_client.post(JOBS, json={"prompt": "a cat"}, headers=own).json["id"]
    services.waiting_calls.renew("acme", job_id)  # as a call that waits for it
    assert keyed_client.get(PROGRESS, headers=own).json["state"]["job_count"] == 1
    assert keyed_client.get(PROGRESS, headers=others).json["state"]["job_count"] == 0
    assert keyed_client.post(INTERRUPT, headers=others).json == {}
    assert services.jobs.get(job_id).status == "queued"
    assert keyed_client.post(INTERRUPT, headers=own).json == {}
    assert services.jobs.get(job_id).status == "cancelled"


def test_a_call_waits_on_one_of_the_connections_that_event_streams_have(
    client: FlaskClient, services: Services
) -> None:
    slots, taken = services.event_slots, 0
    with contextlib.suppress(Unavailable):
        while True:
            slots.take(LOCAL)
            taken += 1
    try:
        answer = client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"})
    finally:
        for _ in range(taken):
            slots.give_back(LOCAL)
    assert answer.status_code in (429, 503)
    assert set(answer.json) == {"error", "detail", "body", "errors"}
    assert services.jobs.page()[0] == []


def test_a_client_for_node_generates(
    node: NodeScripts, port: int, services: Services, worker: FakeWorker
) -> None:
    told = node.run("a1111_generate.mjs", str(port))
    assert told == {
        "sizes": [[64, 64]] * 3,
        "seeds": [7, 8],
        "warnings": [],
        "progress": 0,
        "refused": [404, "not_found"],
    }
    with_controlnet, with_image = (services.jobs.get(job_id).spec for job_id in worker.jobs)
    assert [one.guidance_end for one in with_controlnet.controlnets] == [0.5]
    assert with_image.strength == 0.75


def test_webuiapi_finds_controlnet_when_it_is_made(webui: WebUIApi) -> None:
    assert webui.has_controlnet
    assert not webui.has_adetailer


def test_webuiapi_reads_every_list(webui: WebUIApi, services: Services) -> None:
    services.loras.put("twemoji.safetensors", lora(), content_type=OCTETS)
    assert webui.util_get_model_names() == ["emoji-sd"]
    assert "DPM++ 2M" in webui.util_get_sampler_names()
    assert "karras" in webui.util_get_scheduler_names()
    assert [item["name"] for item in webui.get_loras()] == ["twemoji"]
    assert webui.get_upscalers()[0]["name"] == "None"
    assert webui.get_cmd_flags()["api"]
    assert webui.get_embeddings()["loaded"] == {}
    assert webui.get_memory()["ram"]["used"] > 0
    assert webui.refresh_checkpoints() is None
    for nothing in (
        webui.get_sd_vae, webui.get_latent_upscale_modes, webui.get_hypernetworks, webui.get_prompt_styles,
        webui.get_face_restorers, webui.get_realesrgan_models,
    ):  # fmt: skip
        assert nothing() == []


def test_webuiapi_sets_the_model_that_is_nearest_to_a_name(webui: WebUIApi) -> None:
    webui.util_set_model("Emoji_SD")
    assert webui.util_get_current_model() == "emoji-sd"
    assert webui.set_options({"CLIP_stop_at_last_layers": 2}) is None
    assert webui.get_options()["CLIP_stop_at_last_layers"] == 2
    assert webui.set_options({"sd_model_checkpoint": "v1-5"})["error"] == "not_found"


def test_webuiapi_asks_controlnet(webui: WebUIApi) -> None:
    assert webui.controlnet_version() == 3
    assert [name.partition(" [")[0] for name in webui.controlnet_model_list()] == ["edge", "colour"]
    assert webui.controlnet_module_list() == list(PREPROCESSORS)
    images = [Image.linear_gradient("L").convert("RGB")] * 2
    result = webui.controlnet_detect(images, module="canny", processor_res=64)
    assert [image.size for image in result.images] == [(64, 64)] * 2
    assert result.info == "Success"
    with pytest.raises(RuntimeError, match="Module not available"):
        webui.controlnet_detect(images, module="openpose")


def test_sd_backend_client_finds_out_what_there_is(port: int, backend: A1111Webservice) -> None:
    assert isinstance(connect_to_backend(f"http://127.0.0.1:{port}"), A1111Webservice)
    capabilities = backend.get_capabilities()
    assert (capabilities.controlnet, capabilities.scheduler) == (True, True)
    others = capabilities.ultimate_upscale, capabilities.soft_inpainting, capabilities.interrogate
    assert others == (False, False, False)
    assert [option.name for option in backend.list_checkpoints()] == ["emoji-sd"]
    assert "euler_ancestral" in [option.name for option in backend.list_samplers()]
    assert "karras" in [option.name for option in backend.list_schedulers()]
    for nothing in (
        backend.list_vaes,
        backend.list_hypernetworks,
        backend.list_upscalers,
        backend.list_loras,
    ):
        assert nothing() == []
    assert len(backend.list_controlnet_models()) == 2
    assert [script.is_img2img for script in backend.get_script_info()] == [False, True]
    assert backend.get_config()["sd_model_checkpoint"] == "emoji-sd"
    backend.set_config({"CLIP_stop_at_last_layers": 2})
    for refresh in (backend.refresh_checkpoints, backend.refresh_vae, backend.refresh_loras):
        assert refresh().json() is None


def test_sd_backend_client_previews_a_control_map(backend: A1111Webservice) -> None:
    preprocessors = {one.name: one for one in backend.get_controlnet_preprocessors()}
    assert preprocessors.keys() == PREPROCESSORS.keys()
    keys = [parameter.key for parameter in preprocessors["canny"].parameters]
    assert keys[-3:] == ["processor_res", "threshold_a", "threshold_b"]
    image = Image.linear_gradient("L").convert("RGB").resize((64, 96))
    preview = backend.controlnet_preprocessor_preview(image, None, preprocessors["canny"])
    assert preview.size == (512, 768)
    assert backend.get_controlnet_type_categories()["All"]


def test_the_client_for_node_reads_lists_sets_a_model_and_detects(port: int, node: NodeScripts) -> None:
    told: dict[str, Any] = node.run("a1111.js", "lists", f"http://127.0.0.1:{port}")
    assert told["models"] == ["emoji-sd"]
    assert "Euler a" in told["samplers"]
    assert told["upscalers"] == ["None"]
    assert told["nothing"] == [[], [], [], []]
    assert told["flags"] is True
    assert told["current"] == "emoji-sd"
    assert told["unknown"] == "Model not found"
    assert [name.partition(" [")[0] for name in told["controlnets"]] == ["edge", "colour"]
    assert told["modules"] == list(PREPROCESSORS)
    assert told["detected"] == {"width": 64, "height": 64, "info": "Success"}
    assert told["refused"] == 422
