"""``pytest tests/parity --parity=full`` generates the whole matrix, else a sample; both write a table.

``--every=N`` takes one in N rows of it, for a machine that has not got the hours.
"""

import itertools
from collections.abc import Iterator

import pytest

from shared.settings import Settings
from tests.parity import matrix
from tests.parity.beside_plain import CASES
from tests.parity.report import write_report
from tests.parity.rows import Row
from tests.parity.world import World, make_world


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--parity", choices=("sample", "full"), default="sample")
    parser.addoption("--every", type=int, default=1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" in metafunc.fixturenames:
        is_full = metafunc.config.getoption("--parity", "sample") == "full"
        rows = matrix.full() if is_full else matrix.sample()
        rows = matrix.one_in(metafunc.config.getoption("--every", 1), rows)
        metafunc.parametrize("row", rows, ids=str)


@pytest.fixture(scope="module")  # its ControlNet server reads the queues of a Redis that later tests use
def world(
    request: pytest.FixtureRequest, servers: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """With the models of the rows that this session's tests need."""
    items = [item for item in request.session.items if item.path == request.path]
    rows = {row for item in items if isinstance(item, pytest.Function) for row in _rows_of(item)}
    with make_world(servers, tmp_path_factory.mktemp("parity"), rows) as made:
        yield made


def _rows_of(item: pytest.Function) -> Iterator[Row]:
    params = item.callspec.params
    if "row" in params:
        yield params["row"]
    for pairs in CASES[params["case"]].values() if "case" in params else ():
        yield from itertools.chain(*pairs)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write_report(terminalreporter)
