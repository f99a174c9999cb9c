import { html } from "../../html.js";
import { asText } from "../../receipts/exact_json.js";
import { form, setFields } from "./form_state.js";

const LONG = 40;

/** What the form sends along of the job that it was filled from, though it has no control for it. */
export function CarriedFields() {
  const fields = Object.entries(form.value.carried);
  if (!fields.length) return null;
  return html`<div class="row">
    <p class="grow muted">Also from the job: ${fields.map(([name, value]) => `${name} ${short(asText(value))}`).join(", ")}</p>
    <button type="button" class="button button-small" onClick=${() => setFields({ carried: {} })}>Drop these</button>
  </div>`;
}

function short(text) {
  return text.length > LONG ? `${text.slice(0, LONG)} …` : text;
}
