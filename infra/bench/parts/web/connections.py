"""Part ``connections``: what idle and slow clients leave of an API process to others, and at what price.

The API alone, without workers: one process of gunicorn, with 32 threads (class gthread, as before) and
with our worker class, in turn, on the same servers.
"""

import time
from contextlib import AbstractContextManager
from operator import truediv
from statistics import median
from typing import Any, Literal

from infra.bench.harness.api import Address, StartApi, ask, running_api_servers
from infra.bench.harness.processes import cpu_s
from infra.bench.harness.report import FOLDER, Bound, CheckFailed, Measured, Result
from infra.bench.harness.samples import percentile
from infra.bench.parts.web.load_client import Kind, Load, Order, put_load_on
from infra.bench.parts.web.slow_clients import BODY, HEAD, PIPELINE, UPLOAD, event_streams, slow_clients
from infra.emoji_files import LORA

Server = Literal["threads", "greenlets"]
OPTIONS: dict[Server, list[str]] = {
    "threads": ["--worker-class", "gthread", "--threads", "32"],
    "greenlets": ["--worker-class", "api.server.worker.ApiWorker"],
}
#: A question to ``/healthz`` that is not answered by then counts as this.
TIMEOUT_S = 5.0
PROBE_S = 0.02
MANY = 200
BOUNDS = {
    f"healthz_ms_p99_{MANY}_streams_{MANY}_slow": Bound("at_most", 100),
    "streams_begun": Bound("at_least", MANY),
    "uploads_refused_greenlets": Bound("at_most", 0),
    "submissions_per_core_s_vs_threads": Bound("at_least", 0.9),
    "reads_per_core_s_vs_threads": Bound("at_least", 0.9),
}


def measure(quick: bool) -> Measured:
    """``healthz_ms_p99_ATTACK_SERVER``, requests a second, and each server's ratio; median over the pairs."""
    probe_s, load_s, pairs = (4.0, 3.0, 2) if quick else (8.0, 8.0, 4)
    figures: dict[str, float] = {}
    samples: dict[str, list[float]] = {}
    with running_api_servers(FOLDER / "connections") as start:
        for server in OPTIONS:
            with start(server, OPTIONS[server]) as api:
                _attack(api.address, server, probe_s, figures, samples)
        with start("greenlets", OPTIONS["greenlets"]) as api:
            _hold_many(api.address, probe_s, figures, samples)
        _compare(start, load_s, pairs, figures, samples)
    return Measured(figures, samples, BOUNDS)


def plot(result: Result, left: Any, right: Any) -> None:
    """Answers of ``/healthz`` under each attack; requests a second."""
    for name, values in result.samples.items():
        if name.startswith("healthz_ms"):
            left.ecdf(values, label=name.removeprefix("healthz_ms "))
    left.set(xscale="log", xlabel="ms", ylabel="share of answers", title="/healthz while others are slow")
    left.legend(fontsize="x-small")
    rates = {name: values for name, values in result.samples.items() if name.endswith("_per_core_s")}
    right.boxplot(list(rates.values()), tick_labels=[name.removesuffix("_per_core_s") for name in rates])
    right.tick_params(axis="x", rotation=20)
    right.set(ylabel="a second of CPU", title="requests, one process")


def _attack(
    address: Address,
    server: Server,
    seconds: float,
    figures: dict[str, float],
    samples: dict[str, list[float]],
) -> None:
    attacks: dict[str, AbstractContextManager[None]] = {
        "40_heads": slow_clients(address, 40, HEAD, drip=b"x"),
        "36_bodies": slow_clients(address, 36, BODY, drip=b" "),
        "36_readers": slow_clients(address, 36, PIPELINE),
        "4_uploads": slow_clients(address, 4, UPLOAD, drip=b"\0"),
    }
    for name, attack in attacks.items():
        print(f"  {server}: {name}", flush=True)
        with attack:
            time.sleep(1)
            answers = _probe(address, seconds)
            if name == "4_uploads":
                refused = [status for status in (_upload(address, i) for i in range(5)) if status > 201]
                figures[f"uploads_refused_{server}"] = len(refused)
        samples[f"healthz_ms {name} {server}"] = answers
        figures[f"healthz_ms_p99_{name}_{server}"] = percentile(answers, 99)


def _hold_many(
    address: Address, seconds: float, figures: dict[str, float], samples: dict[str, list[float]]
) -> None:
    print(f"  {MANY} streams and {MANY} slow clients on one process", flush=True)
    (job_id,) = _load(address, "submit", 0.01).ids[:1]
    with (
        event_streams(address, MANY, job_id) as begun,
        slow_clients(address, MANY // 2, HEAD, drip=b"x"),
        slow_clients(address, MANY // 2, BODY, drip=b" "),
    ):
        answers = _probe(address, seconds)
        load = _load(address, "submit", seconds)
    name = f"{MANY}_streams_{MANY}_slow"
    samples[f"healthz_ms {name}"] = answers
    figures |= {
        "streams_begun": begun,
        f"healthz_ms_p50_{name}": percentile(answers, 50),
        f"healthz_ms_p99_{name}": percentile(answers, 99),
        f"submissions_per_s_{name}": len(load.latencies_ms) / load.elapsed_s,
    }


def _compare(
    start: StartApi, seconds: float, pairs: int, figures: dict[str, float], samples: dict[str, list[float]]
) -> None:
    """Both servers in turn, again and again: the machine's other work hits them alike."""
    for _ in range(pairs):
        for server in OPTIONS:
            with start(server, OPTIONS[server]) as api:
                began_s = cpu_s(api.pid)
                submitted = _load(api.address, "submit", seconds)
                between_s = cpu_s(api.pid)
                read = _load(api.address, "read", seconds, submitted.ids[:500])
                ended_s = cpu_s(api.pid)
            for kind, load, spent_s in (
                ("submissions", submitted, between_s - began_s),
                ("reads", read, ended_s - between_s),
            ):
                count = len(load.latencies_ms)
                rates = {"s": count / load.elapsed_s, "core_s": count / spent_s}
                print(
                    f"  {server}: {rates['s']:.0f} {kind} a second, {rates['core_s']:.0f} a core", flush=True
                )
                for unit, rate in rates.items():
                    samples.setdefault(f"{kind} {server}_per_{unit}", []).append(rate)
    for name in ("submissions", "reads"):
        for unit in ("s", "core_s"):
            ours, theirs = (samples[f"{name} {server}_per_{unit}"] for server in ("greenlets", "threads"))
            figures[f"{name}_per_{unit}_greenlets"] = median(ours)
            figures[f"{name}_per_{unit}_threads"] = median(theirs)
            figures[f"{name}_per_{unit}_vs_threads"] = median(map(truediv, ours, theirs))


def _load(address: Address, kind: Kind, seconds: float, ids: list[str] | None = None) -> Load:
    host, port = address
    load = put_load_on(Order(kind=kind, host=host, port=port, seconds=seconds, ids=ids or []))
    if load.refused or not load.latencies_ms:
        raise CheckFailed(f"{kind}: {len(load.refused)} answers not meant: {set(load.refused)}")
    return load


def _probe(address: Address, seconds: float) -> list[float]:
    """Milliseconds that each question to ``/healthz`` took, on a connection of its own."""
    answers = []
    over = time.perf_counter() + seconds
    while time.perf_counter() < over:
        began = time.perf_counter()
        status = ask(address, "GET", "/healthz", timeout_s=TIMEOUT_S)
        took_s = time.perf_counter() - began if status == 200 else TIMEOUT_S
        answers.append(1e3 * took_s)
        time.sleep(PROBE_S)
    return answers


def _upload(address: Address, number: int) -> int:
    """The status of an upload by a client that is as fast as it can be."""
    return ask(address, "PUT", f"/v1/loras/bench-{number}", LORA.read_bytes(), timeout_s=TIMEOUT_S)
