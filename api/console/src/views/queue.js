import { Page } from "../components/page.js";
import { html } from "../html.js";

/** Queue. */
export function QueueView() {
  return html`<${Page} title="Queue" />`;
}
