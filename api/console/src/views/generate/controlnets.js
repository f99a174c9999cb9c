import { FileDrop } from "../../components/file_drop.js";
import { Field, Select } from "../../components/field.js";
import { Slider } from "../../components/slider.js";
import { notify } from "../../components/toast.js";
import { html } from "../../html.js";
import { ControlMap } from "./control_map.js";
import { addControlNet, form, setControlNet } from "./form_state.js";
import { ImageInput } from "./image_input.js";
import { readImage } from "./read_image.js";

/** The ControlNets of the job, each with its control image; an image that is dropped adds one. */
export function ControlNetsSection({ names, preprocessors, size, errors }) {
  const chosen = form.value.controlnets;
  const add = async (files) => {
    for (const file of files) {
      try {
        addControlNet(await readImage(file), names[0]);
      } catch {
        notify(`${file.name} could not be read.`, "bad");
      }
    }
  };
  return html`<fieldset class="section">
    <legend>ControlNets</legend>
    ${chosen.map(
      (one, n) => html`<${ControlNet} key=${one.key} controlnet=${one} n=${n} names=${names} preprocessors=${preprocessors} size=${size} errors=${errors} />`,
    )}
    ${errors.controlnets && html`<p class="field-error">${errors.controlnets}</p>`}
    ${names.length
      ? html`<${FileDrop} label="Add a control image" multiple hint="drop an image here, or press to pick one" onFiles=${add} />`
      : html`<p class="muted">No ControlNet fits this model.</p>`}
  </fieldset>`;
}

function ControlNet({ controlnet, n, names, preprocessors, size, errors }) {
  const { key, image, name, preprocessor, conditioning_scale, guidance_start, guidance_end } = controlnet;
  const change = (fields) => setControlNet(key, fields);
  const error = (field) => errors[`controlnets.${n}.${field}`];
  const known = names.includes(name) ? names : [name, ...names];
  const of = `ControlNet ${n + 1}`;
  const label = (text) => html`${text}<span class="visually-hidden"> of ${of}</span>`;
  return html`<div class="controlnet">
    <${ImageInput} label=${`Control image ${n + 1}`} value=${image} error=${error("image")} onChange=${(taken) => setControlNet(key, taken && { image: taken })} />
    <div class="fields">
      <${Field} label=${label("ControlNet")} error=${error("name") ?? error("control_mode")}>
        <${Select} options=${known} value=${name} onChange=${(value) => change({ name: value })} />
      </>
      <${Field} label=${label("Preprocessor")} error=${error("preprocessor")}>
        <${Select}
          options=${preprocessors.map((one) => one.name)} value=${preprocessor}
          onChange=${(value) => change({ preprocessor: value, preprocessor_options: {} })}
        />
      </>
    </div>
    <${PreprocessorOptions} controlnet=${controlnet} preprocessors=${preprocessors} error=${error("preprocessor_options")} onChange=${change} />
    ${preprocessor !== "none" && html`<${ControlMap} controlnet=${controlnet} n=${n} size=${size} />`}
    <${Slider}
      label="Weight" of=${of} value=${conditioning_scale} min=${0} max=${2} step=${0.05} error=${error("conditioning_scale")}
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
