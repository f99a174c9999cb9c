import { useId, useState } from "preact/hooks";

import { Dialog } from "../../components/dialog.js";
import { fieldErrors } from "../../components/field.js";
import { html } from "../../html.js";

/**
 * A dialog with a form: `save()` sends it and raises ApiError, which is shown at the fields that it names; `fields` are
 * those that children(errors) show, all others appear below.
 */
export function FormDialog({ title, label, save, fields, onClose, children }) {
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const form = useId();
  const errors = fieldErrors(error);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await save();
      return;
    } catch (refused) {
      setError(refused);
    }
    setBusy(false);
  };
  const footer = html`
    <button type="button" class="button" onClick=${onClose}>Cancel</button>
    <button type="submit" form=${form} class="button button-primary" disabled=${isBusy}>${label}</button>
  `;
  return html`<${Dialog} title=${title} onClose=${onClose} footer=${footer}>
    <form id=${form} class="stack" onSubmit=${submit} novalidate>
      ${children(errors)}
      ${error && !fields.some((field) => errors[field]) && html`<p class="field-error" role="alert">${error.detail}</p>`}
    </form>
  </>`;
}

/** A group of boxes to tick: `options` are [value, text], `values` those that are ticked. */
export function CheckboxGroup({ label, options, values, onChange, error }) {
  const change = (value, isChecked) => onChange(options.map(([one]) => one).filter((one) => (one === value ? isChecked : values.includes(one))));
  return html`<fieldset class="field ${error ? "field-bad" : ""}">
    <legend class="field-label">${label}</legend>
    ${options.map(
      ([value, text]) => html`<label class="checkbox" key=${value}>
        <input type="checkbox" checked=${values.includes(value)} onChange=${(event) => change(value, event.target.checked)} />
        <span>${text}</span>
      </label>`,
    )}
    ${error && html`<p class="field-error">${error}</p>`}
  </fieldset>`;
}
