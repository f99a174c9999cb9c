"""Every operation of the OpenAPI document, called as the document allows and as it does not."""

import contextlib

import hypothesis
import schemathesis
from flask.testing import FlaskClient
from flask_openapi.openapi import OpenAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from api.services import Services
from shared.jobs.record import StoredImage
from shared.keys import control_key
from tests.api.services import OCTETS, announce_workers, edge, lora, succeed

#: A stream of events is text in OpenAPI 3.1; schemathesis expects the schema of an event, as 3.2 has it.
CHECKS = [not_a_server_error, content_type_conformance]
SCHEMA_CHECKS = [*CHECKS, response_schema_conformance]
#: Of each operation, right and wrong ones: there are many operations, and most take little.
EXAMPLES = max(3, hypothesis.settings.default.max_examples // 40)


def names_of(client: FlaskClient, services: Services) -> dict[str, str | int]:
    """What is there to be looked at, by the name of the path's parameter: a finished job and a LoRA."""
    announce_workers(services)  # else the fleet is not ready
    services.loras.put("paper.safetensors", lora(), content_type=OCTETS)
    request = {"prompt": "a cat", "seed": 7, "controlnets": [edge()], "loras": [{"name": "paper"}]}
    job_id = str(client.post("/v1/jobs", json=request).json["id"])
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    key = control_key(attempt.job.spec.controlnets[0].image)
    succeed(attempt, [StoredImage(key=key, seed=7, width=64, height=64, sha256="a" * 64)])
    webhooks = client.get("/v1/webhooks").json["webhooks"]
    if not webhooks:
        webhooks = [client.post("/v1/webhooks", json={"url": "https://example.com/hooks"}).json]
    found = {"id": job_id, "name": "paper", "n": 0, "key_id": "0" * 12}
    return found | {"webhook_id": str(webhooks[0]["id"])}


def test_every_operation_answers_as_its_document_says(
    app: OpenAPI, client: FlaskClient, services: Services
) -> None:
    document = schemathesis.openapi.from_wsgi("/openapi.json", app)
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 20
    for operation in operations:
        there = names_of(client, services)
        call(operation, GenerationMode.POSITIVE, there)
        if [*operation.query, *operation.body]:
            call(operation, GenerationMode.NEGATIVE, there)


def call(operation: APIOperation, mode: GenerationMode, there: dict[str, str | int]) -> None:
    """Call an operation for what is not there, and for what is ``there``."""
    checks = CHECKS if operation.path.endswith("/events") else SCHEMA_CHECKS

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        case.headers = {**(case.headers or {}), "Accept-Encoding": "identity"}
        if operation.path == "/v1/events" and not (case.query or {}).get("job"):
            case.query = {**(case.query or {}), "job": there["id"]}  # a stream of all jobs never ends
        case.call_and_validate(checks=checks)
        if case.path_parameters:
            case.path_parameters = {name: there[name] for name in case.path_parameters}
            case.call_and_validate(checks=checks)

    with contextlib.suppress(Unsatisfiable):  # what takes any text cannot be called wrongly
        check()
