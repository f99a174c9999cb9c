import { plainNumber } from "./exact_json.js";

/** What a job has that a request does not take: the fleet fills it in. */
const NOT_REQUESTED = ["split_steps", "control_map", "etag", "size_bytes", "key"];
/** Fields whose default a request need not say. */
const DEFAULTS = {
  guess_mode: false,
  long_prompt: "truncate",
  prompt_syntax: "plain",
  guidance_rescale: 0,
  eta: 0,
  cfg_normalization: 0,
  cfg_truncation: 1,
  residual_precision: "exact",
  latent_parallelism: "auto",
  output_format: "png",
  crops_coords_top_left: [0, 0],
  negative_crops_coords_top_left: [0, 0],
  preprocessor: "none",
  preprocessor_options: {},
  guidance_start: 0,
  guidance_end: 1,
  lora_loading: { mode: "bounded" },
  controlnets: [],
  loras: [],
  num_images: 1,
};

/** The request that gives the same job again: what `POST v1/jobs` takes, of what `GET v1/jobs/ID` answers. */
export function requestOf(job) {
  const { seed, num_images, num_inference_steps, ...spec } = job.request;
  const request = short(spec);
  if (!spec.timesteps && !spec.sigmas) request.num_inference_steps = num_inference_steps;
  // The one says what the other two do.
  if (!spec.seeds) Object.assign(request, { seed }, plainNumber(num_images) > 1 ? { num_images } : {});
  for (const name of ["image", "mask_image"]) if (request[name]) request[name] = stored(request[name]);
  if (request.controlnets) request.controlnets = spec.controlnets.map((one) => ({ ...short(one), image: stored(one.image) }));
  if (request.loras) request.loras = spec.loras.map(({ name, scale }) => ({ name, scale }));
  if (job.priority !== "normal") request.priority = job.priority;
  if (job.deadline_s !== null) request.deadline_s = job.deadline_s;
  return request;
}

function short(fields) {
  const kept = Object.entries(fields).filter(
    ([name, value]) => value !== null && !NOT_REQUESTED.includes(name) && !isDefault(name, value),
  );
  return Object.fromEntries(kept.map(([name, value]) => [name, name === "lora_loading" ? short(value) : value]));
}

function isDefault(name, value) {
  if (!(name in DEFAULTS)) return false;
  const own = typeof DEFAULTS[name] === "number" ? plainNumber(value) : value;
  return sorted(own) === sorted(DEFAULTS[name]);
}

// Nulls are left out: they mean what leaving a field out means.
function sorted(value) {
  return JSON.stringify(value, (_, inner) => (inner === null ? undefined : inner));
}

function stored(sha256) {
  return `sha256:${sha256}`;
}
