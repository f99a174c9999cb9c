import { signal } from "@preact/signals";

import { asText, numberOf } from "../../receipts/exact_json.js";
import { requestOf } from "../../receipts/request_of.js";

/** Numbers that only some models take. */
const NO_OPTIONS = { true_cfg_scale: "", max_sequence_length: "", shift: "", mu: "", cfg_normalization: "", cfg_truncation: "" };
/** Texts of further encoders that only some models have. */
const NO_PROMPTS = { prompt_2: "", prompt_3: "", negative_prompt_2: "", negative_prompt_3: "" };
export const OPTIONS = Object.keys(NO_OPTIONS);
export const PROMPTS = Object.keys(NO_PROMPTS);
/** The form when nothing is filled in: "" means the model's or the API's own default. */
const EMPTY = {
  prompt: "",
  negative_prompt: "",
  model: "",
  width: "",
  height: "",
  num_inference_steps: "",
  guidance_scale: "",
  ...NO_OPTIONS,
  ...NO_PROMPTS,
  scheduler: "",
  sigmas: "", // numbers with commas between them
  seed: "",
  num_images: "1",
  strength: "",
  prompt_syntax: "plain",
  output_format: "png",
  output_quality: "",
  priority: "normal",
  image: null, // {data, thumb, name}, as `read_image.js` makes them
  mask_image: null,
  loras: [], // [{name, scale}]
  controlnets: [], // [{key, image, name, ...NEW_CONTROLNET}]
  carried: {}, // fields of the job that the form was filled from, and that it has no control for
};
const NUMBERS = ["width", "height", "num_inference_steps", "guidance_scale", "seed", "num_images", "strength", "output_quality", ...OPTIONS];
const TEXTS = ["model", "scheduler", "negative_prompt", ...PROMPTS];
/** What stands in place of another field: who changes it wants the other no longer. */
const REPLACES = {
  seed: ["seeds"],
  num_images: ["seeds"],
  num_inference_steps: ["timesteps", "sigmas"],
  sigmas: ["timesteps", "num_inference_steps"],
};
let lastKey = 0;

/** What the form holds; it stays while other views are shown. */
export const form = signal(EMPTY);

/** Change fields of the form. */
export function setFields(fields) {
  const carried = { ...form.value.carried };
  const emptied = {};
  for (const name of Object.keys(fields)) {
    for (const other of REPLACES[name] ?? []) {
      delete carried[other];
      if (other in EMPTY) emptied[other] = "";
    }
  }
  form.value = { ...form.value, carried, ...emptied, ...fields };
}

/** Use another model, without what only the one before may take. */
export function setModel(model) {
  form.value = { ...form.value, ...NO_OPTIONS, ...NO_PROMPTS, sigmas: "", model, scheduler: "", prompt_syntax: "plain" };
}

/** Empty the form. */
export function clearForm() {
  form.value = EMPTY;
}

/** Have the job use one more LoRA, at its full strength. */
export function addLora(name) {
  const { loras } = form.value;
  if (!loras.some((one) => one.name === name)) setFields({ loras: [...loras, { name, scale: 1 }] });
}

/** Use one more ControlNet, with this control image, if it has its own. */
export function addControlNet(image, name) {
  const added = { ...NEW_CONTROLNET, key: (lastKey += 1), image, name };
  setFields({ controlnets: [...form.value.controlnets, added] });
}

const NEW_CONTROLNET = {
  preprocessor: "none",
  preprocessor_options: {},
  guidance_start: 0,
  guidance_end: 1,
  control_mode: "",
};

/** Whether a ControlNet of those that are `listed` was trained to inpaint: it is shown the job's image, and has none of its own. */
export function inpaints(name, listed) {
  return listed.find((one) => one.name === name)?.modes?.join() === "mask";
}

/** Change fields of one ControlNet; without `fields` it is removed. */
export function setControlNet(key, fields) {
  const rest = form.value.controlnets.flatMap((one) => (one.key !== key ? [one] : fields ? [{ ...one, ...fields }] : []));
  setFields({ controlnets: rest });
}

/** The body of `POST v1/jobs` for what the form holds. `listed`: the ControlNets that there are. */
export function toRequest(state, listed) {
  const request = { ...state.carried, prompt: state.prompt };
  for (const name of NUMBERS) if (state[name] !== "") request[name] = numberOf(state[name]);
  if (request.seeds) delete request.num_images;
  if (state.sigmas) request.sigmas = state.sigmas.match(/[^\s,[\]]+/g)?.map(Number); // NaN is null in JSON, which the API refuses
  for (const name of TEXTS) if (state[name]) request[name] = state[name];
  if (state.true_cfg_scale > 1) request.negative_prompt ??= ""; // else there is no second branch
  if (state.prompt_syntax !== "plain") request.prompt_syntax = state.prompt_syntax;
  if (state.output_format !== "png") request.output_format = state.output_format;
  else delete request.output_quality;
  if (state.priority !== "normal") request.priority = state.priority;
  if (state.image) request.image = state.image.data;
  else delete request.strength;
  if (state.image && state.mask_image) request.mask_image = state.mask_image.data;
  if (state.loras.length) request.loras = state.loras.map(({ name, scale }) => ({ name, scale: parseScale(scale) }));
  if (state.controlnets.length) {
    request.controlnets = state.controlnets.map((one) => controlNetRequest(one, listed));
  }
  return request;
}

function controlNetRequest({ key, image, control_mode, preprocessor, preprocessor_options, ...rest }, listed) {
  if (control_mode !== "") rest.control_mode = Number(control_mode);
  if (inpaints(rest.name, listed)) return rest;
  if (image) rest.image = image.data;
  return { ...rest, preprocessor, preprocessor_options };
}

/** Fill the form from a job, as `readExactJob` gives it. */
export function fillFromJob(job) {
  const { image, mask_image, loras = [], controlnets = [], ...request } = requestOf(job);
  const stored = (data, thumb, name) => (data ? { data, thumb, name } : null);
  const kept = {};
  const carried = {};
  for (const [name, value] of Object.entries(request)) (name in EMPTY ? kept : carried)[name] = name in EMPTY ? asText(value) : value;
  form.value = {
    ...EMPTY,
    ...kept,
    num_images: kept.num_images ?? String(carried.seeds?.length ?? 1),
    carried,
    image: stored(image, null, "the image of that job"),
    mask_image: stored(mask_image, null, "the mask of that job"),
    loras: loras.map(({ name, scale }) => ({ name, scale: scaleOf(plain(scale)) })),
    controlnets: controlnets.map((one, n) => ({
      ...NEW_CONTROLNET,
      ...plain(one),
      key: (lastKey += 1),
      image: stored(one.image, `v1/jobs/${job.id}/controlnets/${n}/image`, "stored image"),
    })),
  };
}

/** With plain numbers, for sliders. */
function plain(value) {
  return JSON.parse(JSON.stringify(value));
}

function scaleOf(scale) {
  return typeof scale === "number" ? scale : JSON.stringify(scale);
}

/** Scales of single blocks come from a job's request, and are kept as JSON. */
function parseScale(scale) {
  return typeof scale === "string" ? JSON.parse(scale) : scale;
}
