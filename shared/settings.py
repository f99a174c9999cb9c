"""Settings: ``SWIFT_*`` environment variables, read once, with units in their names.

The description of each field is its line in the table of `infra/docs/operations.md`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import InvalidSetting
from shared.setting_checks.addresses import join_port, parse_redis_url
from shared.setting_checks.aws import check_aws
from shared.setting_checks.errors import PREFIX, explained, unknown
from shared.setting_checks.files import check_home, check_tls_files
from shared.setting_checks.secret_files import read_secret_files
from shared.setting_checks.types import (
    MAX_BYTES,
    ApiKeyText,
    BaseUrl,
    BucketName,
    Bytes,
    Count,
    Device,
    Devices,
    Host,
    Hosts,
    LocalPath,
    Login,
    NamePairs,
    Names,
    Origins,
    Port,
    Processes,
    ProcessesOrNone,
    RedisUrl,
    RedisUrls,
    Region,
    S3Url,
    Seconds,
    WholeSeconds,
)

ROOT = Path(__file__).resolve().parent.parent
#: What S3 takes in one PUT, and in one copy: an upload ends with that, and may begin with a presigned PUT.
S3_PUT_BYTES = 5 << 30


class Settings(BaseModel):
    """One frozen object; `read_settings` builds it from the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # --- State, catalog, logs ---

    home: LocalPath = Field(Path(".run"), description="state folder: caches, logs, embedded servers' data")
    catalog: LocalPath = Field(
        ROOT / "infra" / "catalog.toml", description="TOML file that names models and ControlNets"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="log lines of API and workers: `text` (key=value) or `json`, one line a record"
    )
    log_bytes: Bytes = Field(16 << 20, description="size at which a log file of the local stack is rotated")
    log_files: Count = Field(4, description="log files kept of each process, the current one included")

    # --- Servers ---

    redis_url: RedisUrl = Field("redis://127.0.0.1:6390/0", description="control Redis: queues and jobs")
    residual_redis_url: RedisUrls = Field(
        ("redis://127.0.0.1:6391/0",),
        description="residual Redis: tensors; never the control Redis. Several, comma separated, share the "
        "load: the same list in the same order everywhere",
    )
    redis_ca_file: LocalPath | None = Field(
        None,
        description="PEM file of further authorities that sign certificates of `rediss://` servers",
    )
    redis_cert_file: LocalPath | None = Field(
        None, description="PEM file of the certificate that `rediss://` servers ask their clients for"
    )
    redis_key_file: LocalPath | None = Field(
        None, description="PEM file of that certificate's key; unset: it is in the same file"
    )
    s3_endpoint_url: S3Url | None = Field(
        None, description="S3 server, with the usual `AWS_*` credentials; unset: the embedded one"
    )
    s3_region: Region | None = Field(
        None,
        description="region of the S3 server; unset: `AWS_REGION`, or as boto3 finds it, else us-east-1",
    )
    s3_public_url: S3Url | None = Field(
        None, description="address of the S3 server in upload URLs; unset: as the fleet itself reaches it"
    )
    lora_bucket: BucketName = Field("loras", description="bucket that is the LoRA catalog")
    image_bucket: BucketName = Field("images", description="bucket for images and control images")

    # --- The local stack ---

    unet_devices: Devices = Field(
        (),
        description="devices of the local stack's UNet workers, comma separated: a worker process for each, "
        "two for one that is named twice; unset: `SWIFT_UNET_WORKERS` processes on `SWIFT_DEVICE`",
    )
    controlnet_devices: Devices = Field(
        (),
        description="the same for its ControlNet workers; unset: `SWIFT_CONTROLNET_WORKERS` processes on "
        "`SWIFT_DEVICE`",
    )
    unet_workers: Processes | None = Field(
        None,
        description="UNet worker processes of the local stack, unless `SWIFT_UNET_DEVICES` names devices; "
        "unset: 2 on a CPU of several cores, which serve ControlNets for each other, else 1",
    )
    controlnet_workers: ProcessesOrNone = Field(
        0,
        description="ControlNet worker processes of the local stack, unless `SWIFT_CONTROLNET_DEVICES` names "
        "devices; 0: none, UNet workers compute ControlNets, and /readyz waits for no ControlNet worker",
    )
    flower_host: Host = Field(
        "127.0.0.1", description="address Flower listens on, with the login of `.run/env`"
    )
    flower_port: Port = Field(5555, description="port of Flower")
    flower_basic_auth: Login | None = Field(
        None,
        description="login of Flower, USER:PASSWORD; unset: `make up` makes one. With `SWIFT_AUTH=keys` any "
        "user with an admin's API key as password may log in, too",
    )
    s3_port: Port = Field(
        8333,
        description="port of the embedded S3 server; it also takes the next four, and each + 10000",
    )
    redis_port: Port = Field(6390, description="port of the embedded control Redis")
    residual_redis_port: Port = Field(6391, description="port of the embedded residual Redis")
    residual_redis_bytes: Bytes = Field(1 << 30, description="memory limit of the embedded residual Redis")

    # --- The API ---

    api_host: Host = Field("127.0.0.1", description="address the API listens on")
    api_port: Port = Field(8080, description="port of the API")
    api_processes: Processes = Field(1, description="gunicorn processes of the API")
    api_connections: Count = Field(
        4000, description="connections open at once per API process; further ones are answered 503"
    )
    api_connections_per_client: int = Field(
        1000,
        ge=0,
        le=1_000_000,
        description="of these, connections from one address; further ones are answered 429. "
        "0: no limit, for an API that is reached through a proxy",
    )
    api_event_streams: Count = Field(
        500, description="event streams open at once per API process; further ones are answered 503"
    )
    api_body_bytes: Bytes = Field(
        256 << 20, description="JSON bodies and forms an API process holds in memory at once; beyond it 503"
    )
    header_timeout_s: Seconds = Field(
        10,
        description="a connection is closed if the header of its next request is not complete within this "
        "time",
    )
    body_timeout_s: Seconds = Field(
        30,
        description="a request is answered 408 if its body arrives more slowly than "
        "`SWIFT_CLIENT_MIN_BYTES_PER_S` over this time",
    )
    response_timeout_s: Seconds = Field(
        30,
        description="a connection is closed if its client reads a response more slowly than that over "
        "this time",
    )
    client_min_bytes_per_s: Count = Field(
        4096, description="slowest client that is served, sending or receiving"
    )
    allowed_hosts: Names = Field(
        (),
        description="hosts the API and Flower answer to, besides loopback names and their own: names, "
        "`.example.com` (with subdomains), networks as `10.0.0.0/8`, `*`",
    )
    trusted_proxies: int = Field(
        0, ge=0, le=16, description="proxies in front of the API whose `X-Forwarded-*` headers count"
    )
    access_log: bool = Field(True, description="log a line for every request")

    # --- Authentication ---

    auth: Literal["off", "keys"] = Field(
        "off",
        description="`keys`: the API asks for API keys; `off`: it does not, and everything belongs to tenant "
        "`local`. An API that listens on more than loopback addresses does not start unless this is set",
    )
    bootstrap_key: ApiKeyText | None = Field(
        None,
        description="an API key with all scopes, for the first tenants and keys: it works without being "
        "stored; `swiftdiffusion keys random` prints one",
    )
    api_key: ApiKeyText | None = Field(None, description="the API key that the command line sends")
    auth_cache_s: Seconds = Field(
        2, description="how long an API process may not know that a key was revoked or a tenant changed"
    )
    wrong_keys_per_min: int = Field(
        60,
        ge=0,
        le=1_000_000,
        description="wrong API keys that an API process takes from one address in a minute; until it is over "
        "other keys of that address that were not right lately are answered 429. 0: no limit, for a proxy "
        "that does not tell its clients' addresses",
    )
    session_ttl_s: WholeSeconds = Field(43_200, description="how long a browser's login lasts")
    cors_origins: Origins = Field(
        (),
        description="origins whose pages may use the API from a browser, with an API key, comma separated; "
        "`*`: any, with `SWIFT_AUTH=keys` alone. Unset: none",
    )

    # --- Limits of a request ---

    max_body_bytes: int = Field(32 << 20, ge=1, le=1 << 31, description="largest JSON body or form of a job")
    max_side_px: Count = Field(2048, description="largest width and height of a generated image")
    max_steps: Count = Field(200, description="largest num_inference_steps")
    max_images: Count = Field(8, description="largest num_images")
    max_control_px: int = Field(16 << 20, ge=1, le=1 << 30, description="largest control image, in pixels")
    max_lora_bytes: Bytes = Field(2 << 30, description="largest LoRA file that is accepted, at most 5 GiB")

    openai_models: NamePairs = Field(
        (),
        description="what other model names mean in OpenAI's API, comma separated: `dall-e-3=MODEL`; those "
        "of OpenAI's models that are not listed mean the default model",
    )
    a1111_options_ttl_s: WholeSeconds = Field(
        604_800,
        description="how long options set in A1111's API are kept after their last use",
    )

    # --- Workers ---

    worker_models: Names = Field(
        (),
        description="models this UNet worker serves, comma separated; empty: the whole catalog",
    )
    worker_controlnets: Names = Field(
        (),
        description="ControlNets this worker may load and serve, comma separated; empty: the whole catalog, "
        "for a UNet worker what fits its models; `none`: a UNet worker that loads none",
    )
    device: Device = Field(
        "cpu", description="torch device of this worker; the other GPUs are hidden from its process"
    )
    device_name: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="what `/v1/fleet` calls that device; unset: as `SWIFT_DEVICE`"
    )
    threads_per_worker: Processes = Field(1, description="CPU threads torch uses in a worker")
    workers_per_device: Count = Field(
        1,
        description="worker processes that share this worker's GPU: each takes its part of the memory",
    )
    model_memory_bytes: Bytes | None = Field(
        None,
        description="weights a worker keeps loaded; the least recently used are unloaded first. Unset: its "
        "part of what is free on its GPU at the start, less a reserve; elsewhere 16 GiB",
    )
    text_encoders: Literal["auto", "apart"] = Field(
        "auto",
        description="how a UNet worker keeps text encoders: `auto` with their model, where both fit into its "
        "memory; `apart` like a model of their own: loaded when a prompt is encoded that nobody has encoded "
        "lately or encodes now, and unloaded when others need the memory",
    )
    heartbeat_s: Seconds = Field(1, description="how often a worker reports itself")
    placement: bool = Field(
        True,
        description="send a job to the free UNet worker that can start it soonest, by the LoRAs it holds; "
        "else to any",
    )

    # --- Jobs: retention, attempts, leases ---

    job_timeout_s: Seconds = Field(600, description="a running job is failed after this long")
    job_ttl_s: WholeSeconds = Field(604_800, description="finished jobs and their events are kept this long")
    image_ttl_s: WholeSeconds = Field(
        604_800, description="images of finished jobs are kept this long, and no longer than their job"
    )
    control_image_ttl_s: int = Field(
        2_592_000, ge=3600, description="control images are kept this long after their last use, for replays"
    )
    durable_submit: Literal["auto", "off", "on"] = Field(
        "auto",
        description="a job is answered 202 once the control Redis has written it to disk (`WAITAOF`): `auto` "
        "where the server can, `off`, `on` stops the start if it cannot",
    )
    catalog_grace_s: Seconds = Field(
        300, description="a queued job whose model, ControlNet or scheduler no catalog names is failed then"
    )
    priority_ageing_s: Seconds = Field(
        600,
        description="a waiting job of a lower priority comes before jobs of the next higher one of its "
        "tenant that were accepted so much later",
    )
    lease_s: Seconds = Field(
        4,
        description="a worker that does not renew its lease for this long has lost its job; it does so four "
        "times as often, or every second",
    )
    max_attempts: Count = Field(3, description="attempts at a job before it is failed")
    max_infrastructure_losses: Count = Field(
        30, description="attempts that Redis, S3 or a stopped worker may cost a job besides those"
    )
    checkpoint_every_s: float = Field(
        1,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="how often at most a running job's state is stored, from which another worker continues "
        "it; less often where that would cost over 1 % of its time. 0: never",
    )
    checkpoint_bytes: Bytes = Field(
        64 << 20, description="largest such state of a job; one that is larger begins anew"
    )
    checkpoint_ttl_s: WholeSeconds = Field(
        3600, description="expiry of that state, in the residual Redis, counted from its last change"
    )
    stuck_grace_s: Seconds = Field(
        30,
        description="a job this long past its deadline counts as hung: it is failed, and its worker "
        "process is ended",
    )

    # --- ControlNets and the residual transport ---

    residual_timeout_s: Seconds = Field(
        30,
        description="a step that no worker takes or answers within this time is sent again or given up",
    )
    residual_attempts: Count = Field(
        3, description="how often one step is sent before its ControlNet is given up"
    )
    local_controlnets: Literal["auto", "unserved"] = Field(
        "auto",
        description="which ControlNets a UNet worker computes itself, of those that it may load: `unserved`: "
        "those that no other worker has begun when it needs them; `auto`: also, without asking, those whose "
        "residuals travel for longer than they are computed",
    )
    controlnet_lease_s: Seconds = Field(
        2, description="a worker that serves and does not renew its lease for this long has lost its step"
    )
    controlnet_batch_delay: float = Field(
        0.25,
        ge=0,
        le=1000,
        allow_inf_nan=False,
        description="a step may take this share longer so that steps of other jobs are batched with it; "
        "0: no batching",
    )
    residual_ttl_s: WholeSeconds = Field(120, description="expiry of residuals and step requests")
    gpu_shared: Literal["auto", "off"] = Field(
        "auto",
        description="`auto`: residuals between workers on GPUs of one host stay in GPU memory (CUDA IPC), "
        "where the two have tried it with success; `off`: as between any workers",
    )
    gpu_shared_bytes: Bytes | None = Field(
        None,
        description="GPU memory a worker lends to others for residuals, besides models; when it is full, "
        "they travel as between any workers; unset: two steps of the largest ControlNet of what it serves, "
        "at least 512 MiB",
    )
    shared_memory: Literal["auto", "off"] = Field(
        "auto",
        description="`auto`: residuals between workers of one host travel in shared memory; `off`: "
        "through Redis",
    )
    shared_memory_bytes: Bytes | None = Field(
        None,
        description="shared memory of a worker for what it serves; when it is full, residuals travel through "
        "Redis; unset: four steps of the largest ControlNet of what it serves, at least 1 GiB",
    )
    input_ttl_s: WholeSeconds = Field(
        900, description="expiry of the inputs of ControlNets: embeddings and control images"
    )

    # --- Embeddings of prompts ---

    embedding_ttl_s: WholeSeconds = Field(
        3600,
        description="what text encoders made of a prompt is found by all UNet workers this long after its "
        "last use",
    )
    embedding_bytes: int = Field(
        64 << 20,
        ge=0,
        le=MAX_BYTES,
        description="limit of these embeddings at the residual Redis, all workers' together; 0: none is "
        "shared",
    )

    # --- LoRAs ---

    lora_cache_bytes: Bytes = Field(10 << 30, description="limit of a host's LoRA disk cache")
    lora_memory_bytes: int = Field(
        2 << 30,
        ge=0,
        le=MAX_BYTES,
        description="limit of the parsed LoRAs that a UNet worker keeps in memory",
    )
    lora_wait_s: Seconds = Field(
        60, description="how long a step waits for a LoRA that must take effect in it before the attempt ends"
    )
    pristine: Literal["auto", "device", "host"] = Field(
        "auto",
        description="where a GPU worker keeps copies of the weights that LoRAs change: `device`, `host` "
        "(pinned), or `auto`: on the device while a quarter of its memory stays free",
    )

    # --- Webhooks ---

    webhook_timeout_s: Seconds = Field(
        15, description="a receiver of webhooks that has not answered within this time has failed"
    )
    webhook_ttl_s: WholeSeconds = Field(
        604_800, description="deliveries of webhooks can be listed and replayed this long after their end"
    )
    webhook_private_targets: Hosts = Field(
        (),
        description="hosts that webhooks may be sent to although their addresses are not public: names, "
        "`.example.com` (with subdomains), addresses, networks as `10.0.0.0/8`",
    )
    api_public_url: BaseUrl | None = Field(
        None, description="address of the API in links of webhooks; unset: links are paths"
    )

    @property
    def api_url(self) -> str:
        """Where this machine reaches the API."""
        return f"http://{join_port(_reachable(self.api_host), self.api_port)}"

    @property
    def flower_url(self) -> str:
        """Where this machine reaches Flower."""
        return f"http://{join_port(_reachable(self.flower_host), self.flower_port)}"

    @model_validator(mode="after")
    def _agree(self) -> "Settings":
        if self.api_event_streams >= self.api_connections:
            raise ValueError("SWIFT_API_EVENT_STREAMS must be less than SWIFT_API_CONNECTIONS")
        if self.residual_timeout_s >= self.residual_ttl_s:
            raise ValueError("SWIFT_RESIDUAL_TIMEOUT_S must be less than SWIFT_RESIDUAL_TTL_S")
        self._check_redis()
        if "*" in self.cors_origins and self.auth == "off":
            raise ValueError("SWIFT_CORS_ORIGINS=* without SWIFT_AUTH=keys would open the API to any page")
        self._check_devices("unet")
        self._check_devices("controlnet")
        if self.lora_bucket == self.image_bucket:
            raise ValueError("SWIFT_LORA_BUCKET and SWIFT_IMAGE_BUCKET must name two buckets")
        for bucket in (self.lora_bucket, self.image_bucket):
            if any(f"//{bucket}." in url for url in (self.s3_endpoint_url, self.s3_public_url) if url):
                raise ValueError(
                    f"the address of the S3 server must not begin with bucket {bucket}: "
                    "SWIFT_LORA_BUCKET and SWIFT_IMAGE_BUCKET name the buckets"
                )
        if self.max_lora_bytes > S3_PUT_BYTES:
            raise ValueError(
                f"SWIFT_MAX_LORA_BYTES may be at most {S3_PUT_BYTES}: S3 takes no more in one PUT or copy"
            )
        return self

    def _check_devices(self, kind: Literal["unet", "controlnet"]) -> None:
        devices, workers = getattr(self, f"{kind}_devices"), getattr(self, f"{kind}_workers")
        if devices and f"{kind}_workers" in self.model_fields_set and workers != len(devices):
            variable = f"{PREFIX}{kind.upper()}"
            raise ValueError(
                f"{variable}_WORKERS={workers} contradicts {variable}_DEVICES, which names {len(devices)}: "
                "set one of them"
            )

    def _check_redis(self) -> None:
        control, *residuals = map(parse_redis_url, (self.redis_url, *self.residual_redis_url))
        servers = [residual.server for residual in residuals]
        if control.server in servers:
            raise ValueError("SWIFT_RESIDUAL_REDIS_URL must name other servers than SWIFT_REDIS_URL")
        if len(set(servers)) < len(servers):
            raise ValueError("SWIFT_RESIDUAL_REDIS_URL names a server twice")
        if self.redis_key_file and not self.redis_cert_file:
            raise ValueError("SWIFT_REDIS_KEY_FILE is set without SWIFT_REDIS_CERT_FILE")
        given = [name for name in ("ca", "cert") if getattr(self, f"redis_{name}_file")]
        if given and not any(address.scheme == "rediss" for address in (control, *residuals)):
            raise ValueError(
                f"SWIFT_REDIS_{given[0].upper()}_FILE is set, and no Redis URL begins with rediss://"
            )


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read and check the environment; raises `InvalidSetting`, one sentence that names the variable."""
    fields = Settings.model_fields
    given = {}
    for variable, value in environ.items():
        name = variable.upper().removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX):
            if variable != variable.upper():
                raise unknown(variable, fields)
            if not value.strip().isprintable():
                raise InvalidSetting(f"{variable} holds characters that cannot be printed")
            given[name] = value.strip()
        elif variable.upper().startswith(PREFIX) and name in fields:
            raise unknown(variable, fields)
    check_aws(environ)
    if not given.get("s3_region"):  # as other AWS SDKs read it; boto3 knows AWS_DEFAULT_REGION and profiles
        given["s3_region"] = environ.get("AWS_REGION", "")
    given = read_secret_files(given)
    try:
        settings = Settings.model_validate({name: value for name, value in given.items() if value})
    except ValidationError as error:
        raise explained(error.errors()[0], fields) from None
    check_home(settings.home)
    check_tls_files(settings.redis_ca_file, settings.redis_cert_file, settings.redis_key_file)
    return settings


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
