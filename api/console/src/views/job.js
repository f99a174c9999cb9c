import { Page } from "../components/page.js";
import { html } from "../html.js";

/** Job. */
export function JobView() {
  return html`<${Page} title="Job" />`;
}
