import torch

from workers.families.guidance import CFGBranch
from workers.families.unet.conditioning import UNetConditioning


def test_a_half_holds_its_rows_of_everything() -> None:
    whole = UNetConditioning(
        torch.arange(4.0).reshape(4, 1, 1),
        {"text_embeds": torch.arange(4.0).reshape(4, 1), "time_ids": torch.ones(4, 6)},
        guidance=torch.arange(4.0).reshape(4, 1),
    )
    half = whole.branch(CFGBranch.COND)
    assert half.embeddings.flatten().tolist() == [2, 3]
    assert half.added["text_embeds"].flatten().tolist() == [2, 3]
    assert half.guidance is not None
    assert half.guidance.flatten().tolist() == [2, 3]
    assert {name: len(tensor) for name, tensor in half.controlnet_inputs.items()} == {
        "embeddings": 2,
        "text_embeds": 2,
        "time_ids": 2,
    }


def test_a_branch_is_the_same_object_at_every_call() -> None:
    whole = UNetConditioning(torch.zeros(2, 3, 4))
    assert all(whole.branch(branch) is whole.branch(branch) for branch in CFGBranch)
