import { useId } from "preact/hooks";

import { html } from "../html.js";

/**
 * A number between `min` and `max`, to be dragged or typed: onChange(number). `of`: what it is a number of, for screen
 * readers, where several have the same label; `extra` stands behind the number.
 */
export function Slider({ label, of, value, min, max, step, error, onChange, extra }) {
  const id = useId();
  const whole = of ? `${label} of ${of}` : label;
  const change = (event) => event.target.value !== "" && onChange(Number(event.target.value));
  const bad = error ? { "aria-invalid": "true", "aria-describedby": `${id}-error` } : {};
  return html`<div class="slider ${error ? "field-bad" : ""}">
    <label class="field-label slider-label" for=${id}>${label}${of && html`<span class="visually-hidden"> of ${of}</span>`}</label>
    <input type="number" class="slider-number" aria-label="${whole}, as a number" step=${step} value=${value} ...${bad} onInput=${change} />
    ${extra}
    <input type="range" id=${id} min=${min} max=${max} step=${step} value=${value} onInput=${change} />
    ${error && html`<p class="field-error" id="${id}-error">${error}</p>`}
  </div>`;
}
