import { Checkbox, Field, Select } from "../../components/field.js";
import { Slider } from "../../components/slider.js";
import { html } from "../../html.js";
import { ControlNetsSection } from "./controlnets.js";
import { form, OPTIONS, PROMPTS, setFields, setModel } from "./form_state.js";
import { ImageInput } from "./image_input.js";
import { LorasSection } from "./loras.js";

const FORMATS = [["png", "PNG, lossless"], ["jpeg", "JPEG"], ["webp", "WebP"]];
const PRIORITIES = [["interactive", "interactive: before my others"], ["normal", "normal"], ["batch", "batch: after my others"]];
const SEEDS = 2 ** 32;
/** Defaults of all models that take a field; those of others stand with the model. */
const DEFAULTS = { shift: "the model's", mu: "by the size", cfg_normalization: 0, cfg_truncation: 1 };

/** The fields of the form, each with what the API says of it. `catalog`: what models and ControlNets there are. */
export function FormFields({ catalog, errors }) {
  const found = catalog.models.find(({ name }) => name === form.value.model) ?? catalog.models.find((one) => one.default);
  const { width, height, image, mask_image, controlnets } = form.value;
  const mode = !image ? "text" : mask_image ? "mask" : "image";
  const defaults = controlnets.length ? found?.controlnet_defaults : found?.defaults;
  const model = { ...found, ...(defaults?.[mode] ?? defaults?.mask) }; // with the defaults of such a job
  const fields = (controlnets.length ? model.controlnet_fields?.[mode] : model.fields) ?? [];
  // What is filled in is sent, and can be emptied, though such a job does not take it.
  const taken = (names) => names.filter((name) => fields.includes(name) || form.value[name] !== "");
  const size = { width: width || (image ? null : model.width), height: height || (image ? null : model.height) };
  return html`
    <${Prompts} more=${taken(PROMPTS)} errors=${errors} />
    <${ModelSection} catalog=${catalog} model=${model} options=${taken(OPTIONS)} errors=${errors} />
    <${LorasSection} errors=${errors} />
    <${ControlNetsSection} model=${model} catalog=${catalog} size=${size} errors=${errors} />
    <${ImageSection} model=${model} errors=${errors} />
    <${OutputSection} model=${model} errors=${errors} />
  `;
}

function Prompts({ more, errors }) {
  const { prompt, negative_prompt } = form.value;
  return html`<div class="stack">
    <${Field} label="Prompt" error=${errors.prompt}>
      <textarea rows="3" value=${prompt} required onInput=${set("prompt")} placeholder="a red apple on a blue background"></textarea>
    </>
    <${Field} label="Negative prompt" error=${errors.negative_prompt}>
      <input value=${negative_prompt} onInput=${set("negative_prompt")} placeholder="what the image shall not show" />
    </>
    ${more.map(
      (name) => html`<${Field} key=${name} label=${inWords(name)} error=${errors[name]}>
        <input value=${form.value[name]} onInput=${set(name)} placeholder="as the first" />
      </>`,
    )}
  </div>`;
}

function ModelSection({ catalog, model, options, errors }) {
  const state = form.value;
  const number = (name, label, placeholder, more) => html`<${Field} label=${label} error=${errors[name]}>
    <input type="number" value=${state[name]} placeholder=${placeholder ?? ""} onInput=${set(name)} ...${more} />
  </>`;
  const side = { min: model.size_multiple, step: model.size_multiple };
  const takes = catalog.schedulers.find(({ name }) => name === (state.scheduler || model.scheduler))?.takes ?? [];
  const wrongSigma = Object.keys(errors).find((field) => field.startsWith("sigmas"));
  const names = catalog.models.map(({ name, workers }) => [name, workers.length ? name : `${name} (no worker)`]);
  const schedulers = [["", `the model's: ${model.scheduler ?? ""}`], ...(model.schedulers ?? [])];
  return html`<fieldset class="section">
    <legend>Model</legend>
    <${Field} label="Model" hideLabel error=${errors.model}>
      <${Select} options=${names} value=${state.model || model.name} onChange=${setModel} />
    </>
    <div class="fields fields-3">
      ${number("width", "Width", model.width, side)} ${number("height", "Height", model.height, side)}
      ${number("num_images", "Images", 1, { min: 1 })} ${number("num_inference_steps", "Steps", model.num_inference_steps, { min: 1 })}
      ${number("guidance_scale", "Guidance", model.guidance_scale, { min: 0, step: 0.5 })} <${Seed} error=${errors.seed} />
      ${options.map((name) => number(name, inWords(name), DEFAULTS[name] ?? model[name], { step: "any" }))}
    </div>
    <${Field} label="Scheduler" error=${errors.scheduler}>
      <${Select} options=${schedulers} value=${state.scheduler} onChange=${(name) => setFields({ scheduler: name })} />
    </>
    ${(takes.includes("sigmas") || state.sigmas) &&
    html`<${Field} label="Sigmas" hint="in place of steps" error=${errors[wrongSigma]}>
      <input value=${state.sigmas} onInput=${set("sigmas")} placeholder="1, 0.75, 0.5, 0.25" />
    </>`}
  </fieldset>`;
}

function Seed({ error }) {
  const { seed } = form.value;
  const toggle = () => setFields({ seed: seed === "" ? String(Math.floor(Math.random() * SEEDS)) : "" });
  return html`<div class="seed">
    <${Field} label="Seed" error=${error}>
      <input type="number" min="0" value=${seed} placeholder="random" onInput=${set("seed")} />
    </>
    <button type="button" class="link-button" onClick=${toggle}>${seed === "" ? "Fix one" : "Random"}</button>
  </div>`;
}

function ImageSection({ model, errors }) {
  const { image, mask_image, strength } = form.value;
  return html`<fieldset class="section">
    <legend>Start from an image</legend>
    <${ImageInput}
      label="Image" hint="optional: drop one, or press to pick it" value=${image} error=${errors.image}
      onChange=${(taken) => setFields(taken ? { image: taken } : { image: null, mask_image: null, strength: "" })}
    />
    ${image &&
    html`<${Slider}
        label="Strength: how much is generated anew" value=${strength === "" ? model.strength : Number(strength)} min=${0} max=${1} step=${0.05}
        error=${errors.strength} onChange=${(value) => setFields({ strength: String(value) })}
      />
      <${ImageInput}
        label="Mask" hint="optional: white is generated anew, black stays" value=${mask_image} error=${errors.mask_image}
        onChange=${(taken) => setFields({ mask_image: taken })}
      />`}
  </fieldset>`;
}

function OutputSection({ model, errors }) {
  const { output_format, output_quality, priority, prompt_syntax } = form.value;
  return html`<fieldset class="section">
    <legend>Output and queue</legend>
    <div class="fields">
      <${Field} label="File format" error=${errors.output_format}>
        <${Select} options=${FORMATS} value=${output_format} onChange=${(value) => setFields({ output_format: value })} />
      </>
      ${output_format !== "png" &&
      html`<${Field} label="Quality" error=${errors.output_quality}>
        <input type="number" min="1" max="100" placeholder="95" value=${output_quality} onInput=${set("output_quality")} />
      </>`}
      <${Field} label="Priority" error=${errors.priority}>
        <${Select} options=${PRIORITIES} value=${priority} onChange=${(value) => setFields({ priority: value })} />
      </>
    </div>
    ${model.prompt_syntaxes?.includes("a1111") !== false &&
    html`<${Checkbox}
      label="Weights in prompts, as A1111 writes them: (red:1.3)" checked=${prompt_syntax === "a1111"}
      onChange=${(isOn) => setFields({ prompt_syntax: isOn ? "a1111" : "plain" })}
    />`}
  </fieldset>`;
}

function inWords(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

function set(name) {
  return (event) => setFields({ [name]: event.target.value });
}
