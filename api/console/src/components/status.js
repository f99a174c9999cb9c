import { html } from "../html.js";

const KINDS = { succeeded: "ok", running: "accent", queued: "muted", failed: "bad", cancelled: "warn" };

/** The status of a job as text, with a colour: or any other word with a `kind` (ok, warn, bad, accent, muted). */
export function Status({ status, kind }) {
  return html`<span class="status status-${kind ?? KINDS[status] ?? "muted"}">${status}</span>`;
}
