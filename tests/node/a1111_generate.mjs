// npm's stable-diffusion-api generates. Argument: the API's port.
import sharp from "sharp";
import sd from "stable-diffusion-api";

const api = new sd.StableDiffusionApi({ port: Number(process.argv[2]), defaultStepCount: 4 });
const image = sharp({ create: { width: 96, height: 64, channels: 3, background: "teal" } }).png();
const unit = new sd.ControlNetUnit({ input_image: image, model: "edge", guidance: 0.5 });
const fields = { prompt: "a cat", width: 64, height: 64, seed: 7 };

const created = await api.txt2img({ ...fields, batch_size: 2, controlnet_units: [unit] });
const changed = await api.img2img({ ...fields, init_images: [image] });
const refused = await api.txt2img({ ...fields, sampler_name: "DPM fast" }).catch((error) => error.response);
const sizes = [...created.images, changed.image].map(async (one) => {
  const { width, height } = await one.metadata();
  return [width, height];
});
const told = {
  sizes: await Promise.all(sizes),
  seeds: JSON.parse(created.info).all_seeds,
  warnings: JSON.parse(created.info).warnings,
  progress: (await api.getProgress()).progress,
  refused: [refused.status, refused.data.error],
};
console.log(JSON.stringify(told));
