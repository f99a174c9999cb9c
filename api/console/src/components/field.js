import { cloneElement } from "preact";
import { useId } from "preact/hooks";

import { html } from "../html.js";

/**
 * A control with its label, a hint, and what the API says is wrong with it:
 *
 *   <${Field} label="Seed" hint="empty: random" error=${errors.seed}><input type="number" value=… /></>
 *
 * The child gets the `id` and the ARIA attributes. `hideLabel` keeps the label for screen readers alone.
 */
export function Field({ label, hint, error, hideLabel = false, className = "", children }) {
  const id = useId();
  const control = Array.isArray(children) ? children[0] : children;
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  const own = { id, "aria-describedby": described || undefined, "aria-invalid": error ? "true" : undefined };
  return html`<div class="field ${className} ${error ? "field-bad" : ""}">
    <label for=${id} class=${hideLabel ? "visually-hidden" : "field-label"}>${label}</label>
    ${cloneElement(control, own)}
    ${hint && html`<p class="field-hint" id="${id}-hint">${hint}</p>`}
    ${error && html`<p class="field-error" id="${id}-error">${error}</p>`}
  </div>`;
}

/** A choice of a few: `options` are texts, or [value, text]. */
export function Select({ options, value, onChange, ...rest }) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  return html`<select ...${rest} value=${value} onChange=${(event) => onChange(event.target.value)}>
    ${pairs.map(([own, text]) => html`<option key=${own} value=${own} selected=${own === value}>${text}</option>`)}
  </select>`;
}

/** A box to tick, with its label at its right. */
export function Checkbox({ label, checked, onChange, ...rest }) {
  return html`<label class="checkbox">
    <input type="checkbox" ...${rest} checked=${checked} onChange=${(event) => onChange(event.target.checked)} />
    <span>${label}</span>
  </label>`;
}

/** The message for each field of an ApiError, by its dotted path: "controlnets.0.image". */
export function fieldErrors(error) {
  const named = Object.fromEntries((error?.errors ?? []).map(({ field, detail }) => [field, detail]));
  if (error?.field && !(error.field in named)) named[error.field] = error.detail;
  return named;
}
