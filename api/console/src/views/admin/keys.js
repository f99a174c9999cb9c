import { Page } from "../../components/page.js";
import { html } from "../../html.js";

/** API keys. */
export function KeysView() {
  return html`<${Page} title="API keys" />`;
}
