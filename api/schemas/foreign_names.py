"""Names that other programs give to fields of a request: diffusers' are accepted, others get a suggestion."""


def _all(own: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, own)


#: diffusers' arguments that take a value for all ControlNets, or a list of one for each.
OF_EACH_CONTROLNET = {
    "controlnet_conditioning_scale": "conditioning_scale",
    "control_guidance_start": "guidance_start",
    "control_guidance_end": "guidance_end",
}

JOB_ALIASES = {"num_images_per_prompt": "num_images"}
CONTROLNET_ALIASES = {"control_image": "image", **OF_EACH_CONTROLNET}

JOB_MEANT = {
    **_all("num_inference_steps", "steps", "num_steps", "n_steps", "sampling_steps", "sample_steps"),
    **_all("num_inference_steps", "ddim_steps", "inference_steps"),
    **_all("guidance_scale", "cfg_scale", "cfg", "guidance", "scale", "cfgscale"),
    **_all("num_images", "n", "n_iter", "batch_size", "batch_count", "num_samples", "num_outputs", "samples"),
    **_all("num_images", "count", "images"),
    **_all("scheduler", "sampler", "sampler_name", "sampler_index", "sampling_method", "scheduler_name"),
    **_all("width and height", "size", "image_size", "resolution", "aspect_ratio"),
    **_all("negative_prompt", "negative", "neg_prompt", "negative_prompts"),
    **_all("prompt", "text", "prompts", "positive", "positive_prompt", "caption"),
    **_all("strength", "denoise", "denoising_strength", "prompt_strength", "image_strength"),
    **_all("image", "init_image", "init_images", "input_image", "image_url"),
    **_all("mask_image", "mask", "mask_url"),
    **_all("controlnets", "controlnet", "control_net", "control_image", "control", "alwayson_scripts"),
    **_all("loras", "lora", "lora_weights", "adapters"),
    **_all("loras[].scale", "lora_scale", "cross_attention_kwargs"),
    **_all("model", "checkpoint", "model_id", "model_name", "sd_model_checkpoint", "override_settings"),
    **_all("seed", "generator", "random_seed", "noise_seed", "manual_seed"),
    **_all("output_format", "format", "image_format", "response_format", "samples_format", "extension"),
    **_all("output_quality", "quality", "output_compression", "jpeg_quality", "image_quality"),
    **_all("webhook", "webhook_url", "callback_url", "callback", "webhooks"),
}
CONTROLNET_MEANT = {
    **_all("conditioning_scale", "weight", "strength", "scale", "control_weight"),
    **_all("name", "model", "controlnet", "id"),
    **_all("preprocessor", "module", "processor"),
    **_all("guidance_start", "start", "start_percent", "starting_control_step", "begin"),
    **_all("guidance_end", "end", "end_percent", "ending_control_step"),
    **_all("image", "input_image", "image_base64", "image_url", "url"),
}
PREPROCESS_MEANT = {
    **_all("preprocessor", "module", "processor", "controlnet_module", "name"),
    **_all("preprocessor_options", "options", "parameters", "params"),
    **_all("image", "control_image", "input_image", "image_base64", "image_url", "url", "images"),
    **_all("width and height", "size", "resolution", "processor_res", "detect_resolution"),
}
LORA_MEANT = {
    **_all("scale", "weight", "strength", "strength_model", "adapter_weight", "multiplier"),
    **_all("name", "lora", "lora_name", "adapter_name", "model", "path", "id", "file"),
}
WEBHOOK_MEANT = {
    **_all("url", "uri", "endpoint", "callback", "callback_url", "webhook_url"),
    **_all("events", "event", "event_types", "filter_types", "webhook_events_filter", "enabled_events"),
}
