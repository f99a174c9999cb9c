import { signal } from "@preact/signals";

/** The form when nothing is filled in: "" means the model's or the API's own default. */
const EMPTY = {
  prompt: "",
  negative_prompt: "",
  model: "",
  width: "",
  height: "",
  num_inference_steps: "",
  guidance_scale: "",
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
};
const NUMBERS = ["width", "height", "num_inference_steps", "guidance_scale", "seed", "num_images", "strength", "output_quality"];
const TEXTS = ["model", "scheduler", "negative_prompt"];
let lastKey = 0;

/** What the form holds; it stays while other views are shown. */
export const form = signal(EMPTY);

/** Change fields of the form. */
export function setFields(fields) {
  form.value = { ...form.value, ...fields };
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

/** The body of `POST v1/jobs` for what the form holds. */
export function toRequest(state) {
  const request = { prompt: state.prompt };
  for (const name of NUMBERS) if (state[name] !== "") request[name] = Number(state[name]);
  for (const name of TEXTS) if (state[name]) request[name] = state[name];
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

/** Fill the form from a job: its `request` as the API answers it. */
export function fillFromJob({ id, request }) {
  const stored = (sha256, thumb, name) => sha256 && { data: `sha256:${sha256}`, thumb, name };
  const kept = Object.fromEntries(
    [...NUMBERS, ...TEXTS, "prompt", "prompt_syntax", "output_format"].map((name) => [name, text(request[name], EMPTY[name])]),
  );
  form.value = {
    ...EMPTY,
    ...kept,
    num_images: String(request.seeds?.length ?? request.num_images),
    image: stored(request.image, null, "the image of that job") ?? null,
    mask_image: stored(request.mask_image, null, "the mask of that job") ?? null,
    loras: request.loras.map(({ name, scale }) => ({ name, scale: typeof scale === "number" ? scale : JSON.stringify(scale) })),
    controlnets: request.controlnets.map((one, n) => ({
      key: (lastKey += 1),
      image: stored(one.image, `v1/jobs/${id}/controlnets/${n}/image`, "stored image"),
      name: one.name,
      preprocessor: one.preprocessor,
      preprocessor_options: one.preprocessor_options,
      conditioning_scale: one.conditioning_scale,
      guidance_start: one.guidance_start,
      guidance_end: one.guidance_end,
    })),
  };
}

function text(value, otherwise) {
  return value === null || value === undefined ? otherwise : String(value);
}

/** Scales of single blocks come from a job's request, and are kept as JSON. */
function parseScale(scale) {
  return typeof scale === "string" ? JSON.parse(scale) : scale;
}
