"""TLS to Redis: every client checks the server's certificate before it sends the password.

The server is real; TLS ends in a proxy in front of it, since not every Redis here is built with TLS.
"""

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from flower.utils.broker import Broker
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError

from infra.bench.harness.ports import free_ports
from infra.local.servers import redis_binary, wait_for_redis
from shared.messaging.celery_app import make_celery
from shared.redis_clients import control_redis, residual_servers, without_retries
from shared.settings import Settings, read_settings
from tests.conftest import READY_S, started
from workers.transport.redis_client.resp import Connection

PASSWORD = "s3cret"
QUEUE = "unet.a"


class Certificates(NamedTuple):
    """PEM files: an authority, another one, and certificates that the first has signed, with their keys."""

    ca: Path
    other_authority: Path
    server: Path  # of 127.0.0.1
    elsewhere: Path  # of another host
    client: Path


class Server(NamedTuple):
    """A Redis with a password, behind TLS."""

    port: int
    received: list[bytes]  # what clients have sent, decrypted

    def settings(self, query: str = "", **variables: object) -> Settings:
        """Settings in which this server has both roles."""
        url = f"rediss://:{PASSWORD}@127.0.0.1:{self.port}/0{query}"
        given = {name: str(value) for name, value in variables.items()}
        control = read_settings({"SWIFT_REDIS_URL": url, **given})
        residual = read_settings({"SWIFT_RESIDUAL_REDIS_URL": url, **given})
        return control.model_copy(update={"residual_redis_url": residual.residual_redis_url})


def ask_control(settings: Settings) -> None:
    without_retries(control_redis(settings)).ping()


def ask_residual(settings: Settings) -> None:
    without_retries(residual_servers(settings)[0]).ping()


def ask_raw(settings: Settings) -> None:
    """The connections of the residual transport."""
    link = Connection(residual_servers(settings)[0].connection_pool)
    link.send([(b"PING",)])
    assert link.read(5) == b"PONG"
    link.close()


def ask_celery(settings: Settings) -> None:
    """kombu's connections, in workers, event receivers and the API."""
    app = make_celery(settings)
    for connect in (app.connection_for_read, app.connection_for_write):
        with connect() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            connection.default_channel.client.ping()  # type: ignore[attr-defined]


def ask_flower(settings: Settings) -> None:
    """Flower's page of the broker uses its own client."""
    app = make_celery(settings)
    broker = Broker(app.connection().as_uri(include_password=True), broker_use_ssl=app.conf.broker_use_ssl)
    assert asyncio.run(broker.queues([QUEUE])) == [{"name": QUEUE, "messages": 0}]


CLIENTS: list[Callable[[Settings], None]] = [ask_control, ask_residual, ask_raw, ask_celery, ask_flower]
every_client = pytest.mark.parametrize("ask", CLIENTS)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "other_authority"):
        _openssl(folder, name, f"/CN={name}")
    for name, host in (("server", "IP:127.0.0.1"), ("elsewhere", "DNS:elsewhere.test"), ("client", "DNS:me")):
        _openssl(
            folder,
            name,
            f"/CN={name}",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.pem",
            "-addext",
            f"subjectAltName={host}",
        )
    return Certificates(*(folder / f"{name}.pem" for name in Certificates._fields))


def _openssl(folder: Path, name: str, subject: str, *options: str) -> None:
    """A certificate and its key in one file."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    out = ["-days", "2", "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    subprocess.run([*new, *out, *options], cwd=folder, check=True, capture_output=True)
    with (folder / f"{name}.pem").open("ab") as file:
        file.write((folder / f"{name}.key").read_bytes())


@pytest.fixture(scope="module")
def plain_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis that asks for a password."""
    [port], home = free_ports(1), tmp_path_factory.mktemp("redis")
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--requirepass", PASSWORD]
    with started([redis_binary(), *options], home, {}):
        wait_for_redis(f"redis://:{PASSWORD}@127.0.0.1:{port}/0", READY_S)
        yield port


Serve = Callable[..., Server]


@pytest.fixture
def serve(plain_port: int, certificates: Certificates) -> Iterator[Serve]:
    """Starts TLS in front of the Redis, with a certificate; returns the server."""
    with ExitStack() as open_sockets:

        def serve(certificate: Path = certificates.server, *, asks_clients: bool = False) -> Server:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            if asks_clients:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(certificates.ca)
            listener = open_sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
            received: list[bytes] = []
            accepting = threading.Thread(target=_accept, args=[listener, context, plain_port, received])
            accepting.start()
            open_sockets.callback(accepting.join)
            open_sockets.callback(listener.shutdown, socket.SHUT_RDWR)  # wakes it: closing alone does not
            return Server(listener.getsockname()[1], received)

        yield serve


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int, received: list[bytes]) -> None:
    with suppress(OSError):  # the test is over
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=[client, context, port, received], daemon=True).start()


def _serve(client: socket.socket, context: ssl.SSLContext, port: int, received: list[bytes]) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(client, server_side=True) as tls,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        threading.Thread(target=_pump, args=[server, tls, None], daemon=True).start()
        _pump(tls, server, received)
        server.shutdown(socket.SHUT_RDWR)  # wakes the other thread


def _pump(source: socket.socket, sink: socket.socket, received: list[bytes] | None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if received is not None:
                received.append(data)
            sink.sendall(data)


@every_client
def test_a_server_of_a_known_authority_gets_the_password(
    ask: Callable[[Settings], None], serve: Serve, certificates: Certificates
) -> None:
    server = serve()
    ask(server.settings(SWIFT_REDIS_CA_FILE=certificates.ca))
    assert PASSWORD.encode() in b"".join(server.received)


@every_client
@pytest.mark.parametrize("authority", ["none", "another", "of another host"])
def test_a_server_that_fails_the_check_is_sent_no_byte(
    ask: Callable[[Settings], None], authority: str, serve: Serve, certificates: Certificates
) -> None:
    server = serve(certificates.elsewhere if authority == "of another host" else certificates.server)
    known = {"another": certificates.other_authority, "of another host": certificates.ca}.get(authority)
    settings = server.settings(**{} if known is None else {"SWIFT_REDIS_CA_FILE": known})
    with pytest.raises((ConnectionError, OperationalError), match="certificate verify failed"):
        ask(settings)
    assert server.received == []


@every_client
@pytest.mark.parametrize("spelling", ["none", "CERT_NONE"])
def test_either_spelling_of_no_check_connects_without_one(
    ask: Callable[[Settings], None], spelling: str, serve: Serve
) -> None:
    ask(serve().settings(f"?ssl_cert_reqs={spelling}"))


@every_client
@pytest.mark.parametrize("spelling", ["required", "CERT_REQUIRED", "optional", "CERT_OPTIONAL"])
def test_every_other_spelling_is_checked(
    ask: Callable[[Settings], None], spelling: str, serve: Serve
) -> None:
    server = serve()
    with pytest.raises((ConnectionError, OperationalError), match="certificate verify failed"):
        ask(server.settings(f"?ssl_cert_reqs={spelling}"))
    assert server.received == []


@every_client
def test_a_server_that_requires_a_client_certificate_gets_it(
    ask: Callable[[Settings], None], serve: Serve, certificates: Certificates
) -> None:
    server = serve(asks_clients=True)
    ask(server.settings(SWIFT_REDIS_CA_FILE=certificates.ca, SWIFT_REDIS_CERT_FILE=certificates.client))


@every_client
def test_an_authority_in_the_url_overrides_the_setting(
    ask: Callable[[Settings], None], serve: Serve, certificates: Certificates
) -> None:
    server = serve()
    ask(server.settings(f"?ssl_ca_certs={certificates.ca}", SWIFT_REDIS_CA_FILE=certificates.other_authority))


@pytest.mark.parametrize("ask", [ask_control, ask_residual, ask_raw, ask_celery])
def test_every_client_reaches_a_unix_socket(ask: Callable[[Settings], None], tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--requirepass", PASSWORD]
    url = f"unix://:{PASSWORD}@{path}?db=3"
    with started([redis_binary(), *options], tmp_path, {}):
        wait_for_redis(url, READY_S)
        base = read_settings({"SWIFT_REDIS_URL": url})
        ask(base.model_copy(update={"residual_redis_url": (url,)}))
