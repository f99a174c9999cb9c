import { Page } from "../components/page.js";
import { html } from "../html.js";

/** Fleet. */
export function FleetView() {
  return html`<${Page} title="Fleet" />`;
}
