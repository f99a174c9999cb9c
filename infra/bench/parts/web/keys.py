"""Part ``keys``: what API keys cost, and what a flood of wrong ones does to those who have a right one.

The API alone, one process, without workers. The flood comes over many connections that never pause, more than
the API can answer: once from the same address as the right requests, once each key from another address.
"""

import threading
from typing import Any

from infra.bench.harness.api import Api, running_api_servers
from infra.bench.harness.processes import cpu_s
from infra.bench.harness.report import FOLDER, Bound, CheckFailed, Measured, Result
from infra.bench.harness.samples import percentile
from infra.bench.parts.web.load_client import Kind, Load, Order, put_load_on
from infra.cli.client import Client
from shared.tenants.api_key import ApiKey

OPTIONS = ["--worker-class", "api.server.worker.ApiWorker"]
#: Connections of the flood: more than the API holds refusals back for, fewer than it takes from an address.
FLOOD = 800
#: Who has the right key: a tenant like others, whose limits are looked at.
TENANT = "someone"
BOUNDS = {
    "submissions_per_core_s": Bound("at_least", 150),
    "reads_per_core_s": Bound("at_least", 500),
    "read_ms_p99_flooded": Bound("at_most", 250),
    "read_ms_p99_flooded_by_many": Bound("at_most", 250),
}


def measure(quick: bool) -> Measured:
    """Requests a second of CPU with a key and without, and latencies with a key, alone and in a flood."""
    load_s = 4.0 if quick else 15.0
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    with running_api_servers(FOLDER / "open") as start, start("open", OPTIONS) as api:
        _measure_load(api, "", load_s, "_without_keys", figures)
    admin = str(ApiKey.random())
    with running_api_servers(FOLDER / "keys", key=admin) as start, start("keys", OPTIONS) as api:
        client = Client("http://{}:{}".format(*api.address), admin)
        client.call("POST", "/v1/tenants", {"id": TENANT})
        key = str(client.call("POST", f"/v1/tenants/{TENANT}/keys", {"scopes": ["jobs"]})["key"])
        ids = _measure_load(api, key, load_s, "", figures)
        for name, connections in (("alone", 0), ("flooded", FLOOD), ("flooded_by_many", FLOOD)):
            print(f"  reads with a key, {name}: {connections} connections with wrong ones", flush=True)
            flood = Order(
                kind="wrong_keys",
                host=api.address[0],
                port=api.address[1],
                seconds=load_s,
                connections=connections,
                from_many=name == "flooded_by_many",
            )
            read, wrong = _read_beside(api, key, ids, flood)
            samples[f"read_ms {name}"] = read.latencies_ms
            figures[f"read_ms_p50_{name}"] = percentile(read.latencies_ms, 50)
            figures[f"read_ms_p99_{name}"] = percentile(read.latencies_ms, 99)
            figures[f"wrong_keys_per_s_{name}"] = wrong
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Latencies of reads with a key; requests a second of CPU."""
    for name, values in result.samples.items():
        left.ecdf(values, label=name.removeprefix("read_ms "))
    left.set(xscale="log", xlabel="ms", ylabel="share of answers", title="reads with a key")
    left.legend()
    rates = {name: value for name, value in result.figures.items() if "_per_core_s" in name}
    right.barh(list(rates), list(rates.values()))
    right.set(xlabel="a second of CPU", title="requests, one process")


def _measure_load(api: Api, key: str, seconds: float, suffix: str, figures: dict[str, float]) -> list[str]:
    """Submit, then read what was submitted; returns the jobs' ids."""
    ids: list[str] = []
    kinds: tuple[tuple[str, Kind], ...] = (("submissions", "submit"), ("reads", "read"))
    for name, kind in kinds:
        print(f"  {name} for {seconds:.0f} s, {'a key' if key else 'no key'}", flush=True)
        before_s = cpu_s(api.pid)
        load = _load(api, kind, key, seconds, ids[:500])
        figures[f"{name}_per_core_s{suffix}"] = len(load.latencies_ms) / (cpu_s(api.pid) - before_s)
        ids = ids or load.ids
    return ids


def _read_beside(api: Api, key: str, ids: list[str], flood: Order) -> tuple[Load, float]:
    """Reads with the key, and how many wrong keys were answered a second meanwhile."""
    wrong: list[Load] = []
    thread = threading.Thread(target=lambda: wrong.append(put_load_on(flood)))
    thread.start()
    read = _load(api, "read", key, flood.seconds, ids[:500])
    thread.join()
    if not wrong or wrong[0].refused:
        raise CheckFailed("a wrong key was not refused")
    return read, len(wrong[0].latencies_ms) / flood.seconds


def _load(api: Api, kind: Kind, key: str, seconds: float, ids: list[str]) -> Load:
    host, port = api.address
    load = put_load_on(Order(kind=kind, host=host, port=port, seconds=seconds, ids=ids, key=key))
    if load.refused or not load.latencies_ms:
        raise CheckFailed(f"{kind}: answers not meant: {set(load.refused)}")
    return load
