import { signal } from "@preact/signals";

import { ApiError, upload } from "../../api.js";
import { notify } from "../../components/toast.js";
import { loadLoras, loraPath } from "./store.js";

/** Uploads that are sent at once; a tenant may have a quarter of what an API process takes. */
const AT_ONCE = 2;

/**
 * Uploads of this page, also while another view is shown: {id, file, name, maxAsyncSteps, state, sentBytes, error},
 * `state` being "ready", "waiting", "sending", "checking" (all is sent), "done", "refused" or "cancelled".
 */
export const uploads = signal([]);
const aborts = new Map();
let lastId = 0;

/** Take files; they are sent when the user says so, for their names may be changed first. */
export function addFiles(files) {
  const added = files.map((file) => {
    lastId += 1;
    const name = file.name.replace(/\.safetensors$/i, "");
    return { id: lastId, file, name, maxAsyncSteps: "", state: "ready", sentBytes: 0, error: null };
  });
  uploads.value = [...uploads.value, ...added];
}

/** Change fields of an upload. */
export function changeUpload(id, fields) {
  uploads.value = uploads.value.map((one) => (one.id === id ? { ...one, ...fields } : one));
}

/** Send an upload as soon as one of the places is free. */
export function startUpload(id) {
  const { name } = uploads.value.find((one) => one.id === id);
  if (isPath(name)) {
    const detail = name ? "a name has no slash, and does not begin with a dot" : "a LoRA needs a name";
    changeUpload(id, { state: "refused", error: new ApiError(422, { field: "name", detail }) });
    return;
  }
  changeUpload(id, { state: "waiting", error: null, sentBytes: 0 });
  sendNext();
}

/** Stop an upload, or take it out of the list. */
export function removeUpload(id) {
  aborts.get(id)?.abort();
  if (!aborts.has(id)) uploads.value = uploads.value.filter((one) => one.id !== id);
}

/** Whether a name would make another path of the address; what else is wrong with it, the API says. */
function isPath(name) {
  return name === "" || /[/\\]|^\./.test(name);
}

function sendNext() {
  const next = uploads.value.find((one) => one.state === "waiting");
  if (next && aborts.size < AT_ONCE) send(next);
}

async function send({ id, file, name, maxAsyncSteps }) {
  const abort = new AbortController();
  aborts.set(id, abort);
  changeUpload(id, { state: "sending" });
  const query = maxAsyncSteps === "" ? "" : `?max_async_steps=${encodeURIComponent(maxAsyncSteps)}`;
  const onProgress = (sentBytes, total) => changeUpload(id, { sentBytes, state: sentBytes < total ? "sending" : "checking" });
  try {
    await upload(loraPath(name) + query, file, { onProgress, signal: abort.signal });
    changeUpload(id, { state: "done" });
    notify(`LoRA '${name}' is uploaded`, "ok");
    loadLoras();
  } catch (error) {
    if (error.name === "AbortError") changeUpload(id, { state: "cancelled", sentBytes: 0 });
    else changeUpload(id, { state: "refused", error });
  }
  aborts.delete(id);
  sendNext();
}
