import { FileDrop } from "../../components/file_drop.js";
import { Field, Select } from "../../components/field.js";
import { Slider } from "../../components/slider.js";
import { notify } from "../../components/toast.js";
import { html } from "../../html.js";
import { ControlMap } from "./control_map.js";
import { addControlNet, form, inpaints, setControlNet } from "./form_state.js";
import { ImageInput } from "./image_input.js";
import { readImage } from "./read_image.js";

/**
 * The ControlNets of the job, each with its control image; an image that is dropped adds one, a button one that inpaints
 * and has none.
 */
export function ControlNetsSection({ model, catalog, size, errors }) {
  const names = model.controlnets ?? [];
  const chosen = form.value.controlnets;
  const inpainting = names.filter((name) => inpaints(name, catalog.controlnets));
  const shown = names.filter((name) => !inpainting.includes(name));
  const add = async (files) => {
    for (const file of files) {
      try {
        addControlNet(await readImage(file), shown[0]);
      } catch {
        notify(`${file.name} could not be read.`, "bad");
      }
    }
  };
  return html`<fieldset class="section">
    <legend>ControlNets</legend>
    ${chosen.map(
      (one, n) => html`<${ControlNet} key=${one.key} controlnet=${one} n=${n} model=${model} catalog=${catalog} size=${size} errors=${errors} />`,
    )}
    ${errors.controlnets && html`<p class="field-error">${errors.controlnets}</p>`}
    ${!names.length && html`<p class="muted">No ControlNet fits this model.</p>`}
    ${shown.length > 0 && html`<${FileDrop} label="Add a control image" multiple onFiles=${add} />`}
    ${inpainting.map(
      (name) => html`<button key=${name} type="button" class="button button-small" onClick=${() => addControlNet(null, name)}>Inpaint with ${name}</button>`,
    )}
  </fieldset>`;
}

function ControlNet({ controlnet, n, model, catalog, size, errors }) {
  const { key, image, name, control_mode, preprocessor, conditioning_scale, guidance_start, guidance_end } = controlnet;
  const { preprocessors } = catalog;
  const listed = catalog.controlnets.find((one) => one.name === name);
  const isInpainting = inpaints(name, catalog.controlnets);
  const change = (fields) => setControlNet(key, fields);
  const error = (field) => errors[`controlnets.${n}.${field}`];
  const known = model.controlnets.includes(name) ? model.controlnets : [name, ...model.controlnets];
  const of = `ControlNet ${n + 1}`;
  const label = (text) => html`${text}<span class="visually-hidden"> of ${of}</span>`;
  return html`<div class="controlnet">
    ${isInpainting
      ? html`<p class="muted">${of} has no control image: it was trained to inpaint, and is shown the image and the mask below.</p>`
      : html`<${ImageInput} label=${`Control image ${n + 1}`} value=${image} error=${error("image")} onChange=${(taken) => setControlNet(key, taken && { image: taken })} />`}
    ${(isInpainting || !image) && html`<button type="button" class="button button-small" onClick=${() => setControlNet(key)}>Remove ${of}</button>`}
    <div class="fields">
      <${Field} label=${label("ControlNet")} error=${error("name")}>
        <${Select} options=${known} value=${name} onChange=${(value) => change({ name: value, control_mode: "" })} />
      </>
      ${(listed?.control_modes !== 0 || control_mode !== "") && html`<${ControlMode} value=${String(control_mode)} listed=${listed} label=${label("Control mode")} error=${error("control_mode")} onChange=${(mode) => change({ control_mode: mode })} />`}
      ${!isInpainting &&
      html`<${Field} label=${label("Preprocessor")} error=${error("preprocessor")}>
        <${Select}
          options=${preprocessors.map((one) => one.name)} value=${preprocessor}
          onChange=${(value) => change({ preprocessor: value, preprocessor_options: {} })}
        />
      </>`}
    </div>
    ${!isInpainting &&
    html`<${PreprocessorOptions} controlnet=${controlnet} preprocessors=${preprocessors} error=${error("preprocessor_options")} onChange=${change} />
    ${image && preprocessor !== "none" && html`<${ControlMap} controlnet=${controlnet} n=${n} size=${size} />`}`}
    <${Slider}
      label="Weight" of=${of} value=${conditioning_scale ?? model.conditioning_scale} min=${0} max=${2} step=${0.05} error=${error("conditioning_scale")}
      onChange=${(value) => change({ conditioning_scale: value })}
    />
    <div class="fields">
      <${Slider}
        label="From" of=${of} value=${guidance_start} min=${0} max=${1} step=${0.05} error=${error("guidance_start") ?? errors[`controlnets.${n}`]}
        onChange=${(value) => change({ guidance_start: value })}
      />
      <${Slider}
        label="To" of=${of} value=${guidance_end} min=${0} max=${1} step=${0.05} error=${error("guidance_end")}
        onChange=${(value) => change({ guidance_end: value })}
      />
    </div>
  </div>`;
}

/** Which of its kinds of control the image is to a union; whether one is a union may not be known. */
function ControlMode({ value, listed, label, error, onChange }) {
  const modes = Array.from({ length: listed?.control_modes ?? 0 }, (_, i) => [String(i), listed.control_mode_names[i] ?? `mode ${i}`]);
  return html`<${Field} label=${label} error=${error}>
    ${modes.length
      ? html`<${Select} required options=${[["", "choose one"], ...modes]} value=${value} onChange=${onChange} />`
      : html`<input type="number" placeholder="of a union" value=${value} onInput=${(event) => onChange(event.target.value)} />`}
  </>`;
}

/** One control for each option of the preprocessor, as its JSON schema describes it. */
function PreprocessorOptions({ controlnet, preprocessors, error, onChange }) {
  const { preprocessor, preprocessor_options } = controlnet;
  const schemas = Object.entries(preprocessors.find((one) => one.name === preprocessor)?.options ?? {});
  if (!schemas.length) return null;
  const change = (name, value) => onChange({ preprocessor_options: { ...preprocessor_options, [name]: value } });
  return html`<div class="fields">
    ${schemas.map(([name, schema]) => {
      const max = schema.maximum ?? 64;
      const isWhole = schema.type === "integer";
      return html`<${Slider}
        key=${name} label=${name.replaceAll("_", " ")} value=${preprocessor_options[name] ?? schema.default}
        min=${schema.minimum ?? (isWhole ? 0 : 0.5)} max=${max} step=${isWhole ? 1 : 0.5}
        onChange=${(value) => change(name, value)}
      />`;
    })}
    ${error && html`<p class="field-error">${error}</p>`}
  </div>`;
}
