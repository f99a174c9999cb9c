import { Page } from "../components/page.js";
import { html } from "../html.js";

/** LoRAs. */
export function LorasView() {
  return html`<${Page} title="LoRAs" />`;
}
