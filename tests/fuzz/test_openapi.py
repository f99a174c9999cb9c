"""Every operation of the OpenAPI document, called as the document allows and as it does not."""

import contextlib
import re

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

from api.auth.scopes import Needed, needed_for
from api.services import Services
from shared.jobs.record import StoredImage
from shared.keys import LOCAL, control_key
from shared.tenants.scopes import SCOPES
from tests.api.api_keys import BOOTSTRAP_KEY, UNKNOWN_KEY, make_key
from tests.api.services import OCTETS, announce_workers, edge, lora, succeed
from tests.api.tenants import add_key, add_tenant

#: A stream of events is text in OpenAPI 3.1; schemathesis expects the schema of an event, as 3.2 has it.
CHECKS = [not_a_server_error, content_type_conformance]
SCHEMA_CHECKS = [*CHECKS, response_schema_conformance]
#: Of each operation, right and wrong ones: there are many operations, and most take little.
EXAMPLES = max(3, hypothesis.settings.default.max_examples // 40)


def names_of(client: FlaskClient, services: Services) -> dict[str, str | int]:
    """What is there to be looked at, by the name of the path's parameter: a job, a LoRA, a tenant, a key."""
    services.loras.put("paper.safetensors", lora(), content_type=OCTETS)
    request = {"prompt": "a cat", "seed": 7, "controlnets": [edge()], "loras": [{"name": "paper"}]}
    job_id = str(client.post("/v1/jobs", json=request).json["id"])
    attempt = services.jobs.claim(job_id, "unet-1")
    assert attempt is not None
    key = control_key(attempt.job.spec.controlnets[0].image, tenant=LOCAL)
    succeed(attempt, [StoredImage(key=key, seed=7, width=64, height=64, sha256="a" * 64)])
    webhooks = client.get("/v1/webhooks").json["webhooks"]
    if not webhooks:
        webhooks = [client.post("/v1/webhooks", json={"url": "https://example.com/hooks"}).json]
    add_tenant(services, job_id)  # "id" is also the parameter of a tenant's path
    key_id = add_key(services, job_id).id
    found = {"id": job_id, "name": "paper", "n": 0, "key_id": key_id}
    return found | {"webhook_id": str(webhooks[0]["id"])}


def test_every_operation_answers_as_its_document_says(
    app: OpenAPI, client: FlaskClient, services: Services
) -> None:
    document = schemathesis.openapi.from_wsgi("/openapi.json", app)
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 20
    there = names_of(client, services)
    for operation in operations:
        announce_workers(services)  # else the fleet is not ready
        call(operation, GenerationMode.POSITIVE, there)
        if [*operation.query, *operation.body]:
            call(operation, GenerationMode.NEGATIVE, there)
        if operation.method.upper() != "GET":  # it may have changed or deleted what was there
            there = names_of(client, services)


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


#: Keys that no operation takes, by what they are.
WITHOUT = {"none": None, "unknown": UNKNOWN_KEY}


def test_every_operation_asks_for_the_keys_that_its_scopes_say(
    keyed_app: OpenAPI, keyed_client: FlaskClient, services: Services
) -> None:
    admin = keyed_app.test_client()
    admin.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {BOOTSTRAP_KEY}"
    keys = {scope: make_key(keyed_client, scopes=[scope]) for scope in SCOPES}
    endpoints = endpoints_of(keyed_app)
    document = schemathesis.openapi.from_wsgi("/openapi.json", keyed_app)
    there = names_of(admin, services)
    for operation in [found.ok() for found in document.get_all_operations()]:
        announce_workers(services)
        needed = needed_for(endpoints[operation.method.upper(), operation.path])
        for case in some_cases(operation, there):
            for name, key in {**WITHOUT, **keys}.items():
                told = call_with(case, key)
                assert told == expected(needed, name), (operation.label, name)
        if operation.method.upper() != "GET":
            there = names_of(admin, services)


def endpoints_of(app: OpenAPI) -> dict[tuple[str, str], str]:
    """The endpoint of each operation, by its method and path."""
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }


def some_cases(operation: APIOperation, there: dict[str, str | int]) -> list[Case]:
    """Requests that the document allows, for what is there and for what is not."""
    cases: list[Case] = []

    @settings(max_examples=2, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def collect(case: Case) -> None:
        if operation.path == "/v1/events":
            case.query = {**(case.query or {}), "job": there["id"]}  # a stream of all jobs never ends
        if operation.path == "/v1/jobs" and case.query:
            case.query.pop("tenants", None)  # those of all tenants need another scope
        cases.append(case)

    collect()
    return cases


def call_with(case: Case, key: str | None) -> str:
    """Why an operation refuses a key, or ``admitted``."""
    case.cookies = {}
    case.headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
    answer = case.call()
    case.validate_response(answer, checks=CHECKS)
    code = answer.json()["code"] if answer.status_code in (401, 403) else ""
    known = {"key_missing": 401, "key_unknown": 401, "scope_missing": 403}
    assert answer.status_code == known.get(code, answer.status_code)
    return code if code in known else "admitted"


def expected(needed: Needed, name: str) -> str:
    """What `call_with` returns for a key of this name."""
    if needed is None:
        return "admitted"
    refused = {"none": "key_missing", "unknown": "key_unknown"}.get(name)
    if refused is not None:
        return refused
    return "admitted" if not needed or name == "admin" or name in needed else "scope_missing"
