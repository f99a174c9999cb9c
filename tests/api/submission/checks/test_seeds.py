from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.message_base import MAX_SEED
from tests.api.submission.test_resolve import refusal


def test_each_seed_gives_one_image_and_the_response_lists_them(client: FlaskClient) -> None:
    accepted = client.post("/v1/jobs", json={"prompt": "a cat", "seeds": [5, 99, 0]}).json
    assert (accepted["seed"], accepted["seeds"]) == (5, [5, 99, 0])
    request = client.get(accepted["links"]["self"]).json["request"]
    assert (request["num_images"], request["seeds"]) == (3, [5, 99, 0])


def test_the_answer_names_every_seed_of_a_count_too(client: FlaskClient) -> None:
    accepted = client.post("/v1/jobs", json={"prompt": "a cat", "seed": 7, "num_images": 3}).json
    assert accepted["seeds"] == [7, 8, 9]


@pytest.mark.parametrize("more", [{"seed": 7}, {"num_images": 2}])
def test_seeds_together_with_the_fields_they_replace_are_refused(
    client: FlaskClient, more: dict[str, int]
) -> None:
    assert refusal(client, seeds=[1, 2], **more)["field"] == next(iter(more))


@pytest.mark.parametrize("seeds", [[], [-1], [MAX_SEED + 1], ["x"], list(range(9))])
def test_seeds_out_of_range_are_refused(client: FlaskClient, seeds: list[Any]) -> None:
    assert refusal(client, seeds=seeds)["field"].split(".")[0] in ("seeds", "num_images")
