import { signal } from "@preact/signals";

import { html } from "../html.js";

const SHOWN_MS = 8000;
const toasts = signal([]);
let last = 0;

/** Show a sentence for a while; `kind`: "ok", "bad" or "info". An error stays until it is closed. */
export function notify(text, kind = "info") {
  const id = (last += 1);
  toasts.value = [...toasts.value.filter((toast) => toast.text !== text), { id, text, kind }];
  if (kind !== "bad") setTimeout(() => close(id), SHOWN_MS);
}

/** Where sentences of `notify` appear; once in the page. */
export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      ({ id, text, kind }) => html`<div class="toast toast-${kind}" key=${id}>
        <p>${text}</p>
        <button type="button" class="icon-button" aria-label="Close the message" onClick=${() => close(id)}>×</button>
      </div>`,
    )}
  </div>`;
}

function close(id) {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}
