import { FileDrop } from "../../components/file_drop.js";
import { notify } from "../../components/toast.js";
import { html } from "../../html.js";
import { readImage } from "./read_image.js";

/** Takes an image by drop or pick, shows it, and lets it be replaced or removed: onChange(image | null). */
export function ImageInput({ label, hint, error, value, onChange }) {
  const take = ([file]) =>
    readImage(file).then(onChange, () => notify(`${file.name} could not be read.`, "bad"));
  if (!value) return html`<${FileDrop} label=${label} hint=${hint} error=${error} onFiles=${take} />`;
  return html`<${FileDrop} label="${label}: another file" error=${error} onFiles=${take}>
    <div class="image-input">
      ${value.thumb ? html`<img src=${value.thumb} alt="" />` : html`<div class="image-input-none"></div>`}
      <div class="grow">
        <p class="field-label">${label}</p>
        <p class="muted image-input-name">${value.name}</p>
      </div>
      <button type="button" class="button button-small" onClick=${() => onChange(null)}>
        Remove<span class="visually-hidden"> ${label}</span>
      </button>
    </div>
  </>`;
}
