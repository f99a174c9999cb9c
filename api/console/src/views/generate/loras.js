import { useState } from "preact/hooks";

import { Field } from "../../components/field.js";
import { Slider } from "../../components/slider.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";
import { href } from "../../router.js";
import { form, setFields } from "./form_state.js";

const SHOWN = 8;
const LIST = "v1/loras?limit=1000";

/** Which LoRAs the job has, and how strong each is. */
export function LorasSection({ errors }) {
  const [text, setText] = useState("");
  const { data, error } = useResource(LIST);
  const chosen = form.value.loras;
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const usable = (data?.loras ?? []).filter(({ name, problem }) => !problem && !chosen.some((one) => one.name === name));
  const found = usable.filter(({ name }) => words.every((word) => name.toLowerCase().includes(word)));
  const add = (name) => {
    setFields({ loras: [...chosen, { name, scale: 1 }] });
    setText("");
  };
  const change = (name, scale) => setFields({ loras: chosen.map((one) => (one.name === name ? { name, scale } : one)) });
  const remove = (name) => setFields({ loras: chosen.filter((one) => one.name !== name) });

  return html`<fieldset class="section">
    <legend>LoRAs</legend>
    ${errors.loras && html`<p class="field-error">${errors.loras}</p>`}
    ${chosen.map(
      (one, n) => html`<${Lora}
        key=${one.name} lora=${one} error=${errors[`loras.${n}.name`] ?? errors[`loras.${n}.scale`] ?? errors[`loras.${n}`]}
        onChange=${(scale) => change(one.name, scale)} onRemove=${() => remove(one.name)}
      />`,
    )}
    ${error && html`<p class="field-error">${error.detail}</p>`}
    ${data && !data.loras.length && html`<p class="muted">There are none yet: <a href=${href("loras")}>upload one</a>.</p>`}
    ${(usable.length > SHOWN || text) &&
    html`<${Field} label="Search LoRAs" hideLabel>
      <input type="search" placeholder="Search ${usable.length} LoRAs" value=${text} onInput=${(event) => setText(event.target.value)} />
    </>`}
    <ul class="chips">
      ${found.slice(0, SHOWN).map(
        ({ name }) => html`<li key=${name}>
          <button type="button" class="chip" onClick=${() => add(name)}>
            <span aria-hidden="true">+</span> <span class="visually-hidden">Add LoRA </span>${name}
          </button>
        </li>`,
      )}
      ${found.length > SHOWN && html`<li class="muted">and ${found.length - SHOWN} more</li>`}
      ${text && !found.length && html`<li class="muted">No LoRA is called so.</li>`}
    </ul>
  </fieldset>`;
}

/** Scales of single blocks, which a job may have been submitted with, are shown as they are. */
function Lora({ lora, error, onChange, onRemove }) {
  const { name, scale } = lora;
  const remove = html`<button type="button" class="icon-button" aria-label="Remove LoRA ${name}" onClick=${onRemove}>×</button>`;
  if (typeof scale === "number") {
    return html`<${Slider} label=${name} value=${scale} min=${-1} max=${2} step=${0.05} error=${error} onChange=${onChange} extra=${remove} />`;
  }
  return html`<div class="row"><span class="field-label">${name}</span><code class="grow">${scale}</code>${remove}</div>`;
}
