from infra.chaos.recipes.mixed_catalog import MIXED_CATALOG, MODELS
from infra.tiny_models import mixed_catalog
from infra.tiny_models.mixed_catalog import controlnet_of, lora_of


def test_the_recipes_name_every_model_of_the_mixed_catalog_with_its_controlnet_and_lora() -> None:
    assert MODELS == mixed_catalog.MODELS
    for recipe in MIXED_CATALOG:
        model = recipe.body["model"]
        assert all(name == controlnet_of(model) for name, _, _ in recipe.controlnets)
        assert all(name == lora_of(model) for name, _ in recipe.loras)


def test_every_model_has_a_job_with_its_lora_that_is_compared_with_diffusers() -> None:
    compared = {one.body["model"] for one in MIXED_CATALOG if one.loras and one.peer_distance == 1}
    assert compared == set(MODELS)


def test_every_model_has_a_job_that_starts_from_an_image_and_some_a_mask() -> None:
    started = {(one.body["model"], one.source) for one in MIXED_CATALOG if one.peer_distance is not None}
    assert started >= {(model, "image") for model in MODELS}
    assert sum(source == "mask" for _, source in started) == 4
