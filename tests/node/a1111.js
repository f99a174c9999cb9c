// npm's stable-diffusion-api, unmodified: makes some calls and prints what came of them.
//
// node a1111.js CALLS URL [PARAMETERS]

import sharp from "sharp";
import sd, { ControlNetUnit } from "stable-diffusion-api";

const [calls, baseUrl, text = "{}"] = process.argv.slice(2);
const api = new sd.default({ baseUrl, timeout: 120_000 });
const image = sharp({ create: { width: 96, height: 96, channels: 3, background: "teal" } });

const CALLS = { lists, generate };

async function lists() {
  const names = (items) => items.map((item) => item.name);
  await api.refreshCheckpoints();
  await api.setModel("Emoji-SD");
  const detected = await detect("canny");
  const { width, height } = await detected.image.metadata();
  return {
    models: (await api.getSdModels()).map((model) => model.title),
    samplers: names(await api.getSamplers()),
    upscalers: names(await api.getUpscalers()),
    nothing: await Promise.all([
      api.getHypernetworks(),
      api.getFaceRestorers(),
      api.getRealesrganModels(),
      api.getPromptStyles(),
    ]),
    flags: (await api.getCmdFlags()).api,
    current: await api.getCurrentModel(),
    unknown: await api.setModel("v1-5-pruned", false).catch((error) => error.message),
    controlnets: await api.ControlNet.getModels(),
    modules: await api.ControlNet.getModules(),
    detected: { width, height, info: detected.info },
    refused: await detect("openpose").catch((error) => error.response.status),
  };
}

function detect(controlnet_module) {
  const images = [image];
  return api.ControlNet.detect({ controlnet_input_images: images, controlnet_module, controlnet_processor_res: 64 });
}

// Images of the same parameters from both calls, with a unit of the first ControlNet.
async function generate() {
  const [model] = await api.ControlNet.getModels();
  const units = [new ControlNetUnit({ model, module: "canny", input_image: image })];
  const parameters = { ...JSON.parse(text), controlnet_units: units };
  const found = {};
  for (const [name, result] of [
    ["txt2img", await api.txt2img(parameters)],
    ["img2img", await api.img2img({ ...parameters, init_images: [image] })],
  ]) {
    const sizes = await Promise.all(result.images.map((each) => each.metadata()));
    found[name] = {
      sizes: sizes.map(({ width, height }) => [width, height]),
      info: JSON.parse(result.info),
    };
  }
  return { ...found, progress: await api.getProgress() };
}

console.log(JSON.stringify(await CALLS[calls]()));
