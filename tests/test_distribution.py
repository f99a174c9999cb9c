"""How tests are spread over processes."""

import pytest

from tests.distribution import longest_units, unit_of


def test_files_that_share_a_fleet_are_one_unit_and_those_with_their_own_are_not() -> None:
    assert unit_of("tests/fleet/test_images.py::test_a[x/y]") == "tests/fleet"
    assert unit_of("tests/fleet/keyed/test_authentication.py::test_a") == "tests/fleet"
    assert unit_of("tests/fleet/apart/test_elastic.py::test_a") == "tests/fleet/apart/test_elastic.py"
    assert unit_of("tests/api/test_app.py::test_a[::]") == "tests/api/test_app.py"


def test_the_units_that_took_long_are_told_with_all_of_their_time() -> None:
    def report(nodeid: str, when: str, took_s: float) -> pytest.TestReport:
        return pytest.TestReport(
            nodeid,
            ("", 0, ""),
            {},
            "passed",
            None,
            when,
            duration=took_s,  # type: ignore[arg-type]
        )

    reports = [
        report("tests/a.py::test_a", "setup", 6.0),
        report("tests/a.py::test_a", "call", 3.0),
        report("tests/a.py::test_b", "call", 2.0),
        report("tests/b.py::test_a", "call", 9.0),
        report("tests/console/test_a.py::test_a", "call", 7.0),
        report("tests/console/test_b.py::test_a", "call", 8.0),
    ]
    assert longest_units(reports) == [("tests/console", 15.0), ("tests/a.py", 11.0)]
