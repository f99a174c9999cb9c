import { signal } from "@preact/signals";

import { asText, numberOf } from "../../receipts/exact_json.js";
import { requestOf } from "../../receipts/request_of.js";

/** Numbers that only some models take. */
export const NO_OPTIONS = { true_cfg_scale: "", max_sequence_length: "", shift: "" };
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
  scheduler: "",
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
  controlnets: [], // [{key, image, name, preprocessor, preprocessor_options, conditioning_scale, guidance_start, guidance_end}]
  carried: {}, // fields of the job that the form was filled from, and that it has no control for
};
const NUMBERS = ["width", "height", "num_inference_steps", "guidance_scale", "seed", "num_images", "strength", "output_quality", ...Object.keys(NO_OPTIONS)];
const TEXTS = ["model", "scheduler", "negative_prompt"];
/** What stands in place of a field that is carried along: who changes it wants the other no longer. */
const REPLACES = { seed: ["seeds"], num_images: ["seeds"], num_inference_steps: ["timesteps", "sigmas"] };
let lastKey = 0;

/** What the form holds; it stays while other views are shown. */
export const form = signal(EMPTY);

/** Change fields of the form. */
export function setFields(fields) {
  const carried = { ...form.value.carried };
  for (const name of Object.keys(fields)) for (const other of REPLACES[name] ?? []) delete carried[other];
  form.value = { ...form.value, carried, ...fields };
}

/** Use another model, without what only the one before may take. */
export function setModel(model) {
  setFields({ ...NO_OPTIONS, model, scheduler: "", prompt_syntax: "plain" });
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

/** Use an image as control image of one more ControlNet. */
export function addControlNet(image, name) {
  const added = { ...NEW_CONTROLNET, key: (lastKey += 1), image, name };
  setFields({ controlnets: [...form.value.controlnets, added] });
}

const NEW_CONTROLNET = {
  preprocessor: "none",
  preprocessor_options: {},
  conditioning_scale: 1,
  guidance_start: 0,
  guidance_end: 1,
};

/** Change fields of one ControlNet; without `fields` it is removed. */
export function setControlNet(key, fields) {
  const rest = form.value.controlnets.flatMap((one) => (one.key !== key ? [one] : fields ? [{ ...one, ...fields }] : []));
  setFields({ controlnets: rest });
}

/** Fields of the job that are sent along, and shown nowhere else: [[name, value]]. */
export function carriedFields({ carried, controlnets }) {
  const modes = controlnets.flatMap((one, n) => (one.control_mode == null ? [] : [[`control_mode of ControlNet ${n + 1}`, one.control_mode]]));
  return [...Object.entries(carried), ...modes];
}

/** Send them along no longer. */
export function dropCarried() {
  setFields({ carried: {}, controlnets: form.value.controlnets.map(({ control_mode, ...rest }) => rest) });
}

/** The body of `POST v1/jobs` for what the form holds. */
export function toRequest(state) {
  const request = { ...state.carried, prompt: state.prompt };
  for (const name of NUMBERS) if (state[name] !== "") request[name] = numberOf(state[name]);
  if (request.seeds) delete request.num_images;
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
    request.controlnets = state.controlnets.map(({ key, image, ...rest }) => ({ ...rest, image: image.data }));
  }
  return request;
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
