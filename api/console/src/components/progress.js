import { html } from "../html.js";

/** A bar with its label; without `value` it says that something is going on. `text`: what stands at its right. */
export function Progress({ label, value, max = 1, text }) {
  const isKnown = value !== undefined && value !== null && max > 0;
  return html`<div class="progress">
    <progress aria-label=${label} value=${isKnown ? value : undefined} max=${isKnown ? max : undefined}></progress>
    ${text && html`<span class="progress-text">${text}</span>`}
  </div>`;
}
