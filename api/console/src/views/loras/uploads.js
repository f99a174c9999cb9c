import { confirm } from "../../components/dialog.js";
import { Field, fieldErrors } from "../../components/field.js";
import { FileDrop } from "../../components/file_drop.js";
import { Progress } from "../../components/progress.js";
import { Status } from "../../components/status.js";
import { formatBytes, plural } from "../../format.js";
import { html } from "../../html.js";
import { session } from "../../session.js";
import { findOwn } from "./store.js";
import { addFiles, changeUpload, removeUpload, startUpload, uploads } from "./upload_queue.js";

const STATES = {
  waiting: ["waiting", "muted"],
  sending: ["sending", "accent"],
  checking: ["being stored", "accent"],
  done: ["done", "ok"],
  refused: ["refused", "bad"],
  cancelled: ["cancelled", "warn"],
};
const EDITABLE = ["ready", "refused", "cancelled"];

/** Where files are dropped, and what became of each. */
export function Uploads() {
  const all = uploads.value;
  const ready = all.filter((one) => one.state === "ready");
  return html`<section class="stack" aria-label="Uploads">
    <${FileDrop}
      label="Upload LoRAs" accept=".safetensors" multiple hint="drop .safetensors files here, or press to pick some" onFiles=${addFiles}
    />
    ${all.length > 0 && html`<ul class="uploads">${all.map((one) => html`<${Upload} key=${one.id} one=${one} />`)}</ul>`}
    ${ready.length > 1 &&
    html`<div><button type="button" class="button button-primary" onClick=${() => ready.forEach(begin)}>Upload ${plural(ready.length, "file")}</button></div>`}
  </section>`;
}

function Upload({ one }) {
  const { id, file, name, state, error } = one;
  const isEditable = EDITABLE.includes(state);
  const replaced = isEditable && findOwn(name, session.value.tenant);
  const errors = fieldErrors(error);
  return html`<li class="card upload">
    <div class="upload-head">
      <p class="grow"><strong>${file.name}</strong> <span class="muted">${formatBytes(file.size)}</span></p>
      ${STATES[state] && html`<${Status} status=${STATES[state][0]} kind=${STATES[state][1]} />`}
    </div>
    ${isEditable
      ? html`<${UploadForm} one=${one} errors=${errors} replaced=${replaced} />`
      : html`<${Sent} one=${one} />`}
    ${error && !errors.name && !errors.max_async_steps && html`<p class="field-error" role="alert">${error.detail}</p>`}
    ${!isEditable &&
    html`<div class="row upload-buttons">
      <button type="button" class="button button-small" aria-label=${`${state === "done" ? "Dismiss" : "Cancel"} ${file.name}`} onClick=${() => removeUpload(id)}>
        ${state === "done" ? "Dismiss" : "Cancel"}
      </button>
    </div>`}
  </li>`;
}

function UploadForm({ one, errors, replaced }) {
  const { id, file, name, maxAsyncSteps, state } = one;
  const submit = (event) => {
    event.preventDefault();
    begin(one);
  };
  return html`<form class="upload-form" onSubmit=${submit}>
    <${Field} label="Name" error=${errors.name} hint=${replaced ? `replaces the LoRA of this name (${formatBytes(replaced.size_bytes)})` : undefined}>
      <input value=${name} required maxlength="128" onInput=${(event) => changeUpload(id, { name: event.target.value })} />
    </>
    <${Field} label="Steps without it, at most" hint="empty: as each job says; 0: for LoRAs that change composition" error=${errors.max_async_steps}>
      <input
        type="number" min="0" max="999999" step="1" value=${maxAsyncSteps}
        onInput=${(event) => changeUpload(id, { maxAsyncSteps: event.target.value })}
      />
    </>
    <div class="row upload-buttons">
      <button type="submit" class="button button-small button-primary" aria-label=${`Upload ${file.name}`}>${state === "ready" ? "Upload" : "Try again"}</button>
      <button type="button" class="button button-small" aria-label=${`Remove ${file.name} from the list`} onClick=${() => removeUpload(id)}>Remove</button>
    </div>
  </form>`;
}

function Sent({ one: { file, name, state, sentBytes } }) {
  if (state === "done") return html`<p class="muted">It is the LoRA <strong>${name}</strong> now.</p>`;
  const text = state === "checking" ? "being stored" : `${formatBytes(sentBytes)} of ${formatBytes(file.size)}`;
  return html`<${Progress} label="Upload of ${file.name}" value=${state === "checking" ? null : sentBytes} max=${file.size} text=${text} />`;
}

/** Send a file; first ask where it replaces another. */
async function begin({ id, name }) {
  const replaced = findOwn(name, session.value.tenant);
  const isSure =
    !replaced ||
    (await confirm({
      title: `Replace LoRA '${name}'?`,
      text: "There is one of this name already. Jobs that were accepted with the old file fail with lora_gone unless a cache still holds it.",
      label: "Replace",
      isDangerous: true,
    }));
  if (isSure) startUpload(id);
}
