"""Requests to models of every architecture, which no worker can hold at once."""

from typing import Any

from infra.chaos.recipes.embedded import Recipe
from infra.emoji_files import CONTROL

#: As in `infra.tiny_models.mixed_catalog`, which loads torch.
MODELS = ("emoji-sd", "tiny-sdxl", "tiny-flux", "tiny-sd3", "tiny-qwen-image", "tiny-z-image")
PROMPT, SIDE_PX = "a red car", 64
#: In 30 steps with a LoRA, 1e-7 more of it makes a wholly different image of diffusers, too; in 4 steps it
#: changes no pixel by more than 1 of 255.
AMPLIFYING = ("tiny-sdxl",)


class AmplifiedRounding(Recipe):
    """Of a model that makes another image of weights which differ in their last bits.

    With a LoRA, which diffusers sums in another order, it is compared with equal requests alone.
    """

    @property
    def peer_distance(self) -> float | None:
        """See `Recipe`."""
        return None if self.loras else super().peer_distance


def _body(model: str) -> dict[str, Any]:
    return {"model": model, "prompt": PROMPT, "width": SIDE_PX, "height": SIDE_PX}


def _recipes(model: str) -> tuple[Recipe, ...]:
    body = _body(model)
    guided_with_lora = AmplifiedRounding if model in AMPLIFYING else Recipe
    controlnet, lora = (f"{model}-controlnet", CONTROL, 0.8), (f"{model}-lora", 0.7)
    return (
        Recipe(name=f"{model} plain", body={**body, "num_inference_steps": 8}),
        Recipe(name=f"{model} 1C", body={**body, "num_inference_steps": 30}, controlnets=(controlnet,)),
        guided_with_lora(
            name=f"{model} 1C1L",
            body={**body, "num_inference_steps": 30},
            controlnets=(controlnet,),
            loras=(lora,),
        ),
        Recipe(
            name=f"{model} 1C1L short",
            body={**body, "num_inference_steps": 4},
            controlnets=(controlnet,),
            loras=(lora,),
        ),
        Recipe(
            name=f"{model} image",
            body={**body, "num_inference_steps": 20, "strength": 0.7},
            source="image",
        ),
    )


#: Both branches of guidance are forwards of their own: of no effect but on time.
_TRUE_CFG = {"negative_prompt": "a cat", "true_cfg_scale": 3.0, "num_inference_steps": 30}
_GUIDED = tuple(
    Recipe(
        name=f"{model} true CFG 1C",
        body={**_body(model), **_TRUE_CFG},
        controlnets=((f"{model}-controlnet", CONTROL, 0.8),),
    )
    for model in ("tiny-flux", "tiny-qwen-image")
)
_MASKED = tuple(
    Recipe(
        name=f"{model} mask",
        body={**_body(model), "num_inference_steps": 20, "strength": 0.8},
        source="mask",
    )
    for model in ("emoji-sd", "tiny-flux", "tiny-qwen-image", "tiny-z-image")
)
MIXED_CATALOG = (*(recipe for model in MODELS for recipe in _recipes(model)), *_GUIDED, *_MASKED)
