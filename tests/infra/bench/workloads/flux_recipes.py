from infra.bench.workloads.flux import FluxRecipe

TOY = FluxRecipe(
    heads=2,
    head_dim=16,
    rope_axes=(4, 6, 6),
    layers=(4, 6),
    controlnet_layers=(2, 3),
    text_width=24,
    pooled_width=16,
    vae_channels=8,
    side_px=64,
)
