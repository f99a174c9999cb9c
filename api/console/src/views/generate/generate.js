import { Page } from "../../components/page.js";
import { html } from "../../html.js";

/** Generate images: the form, and what becomes of the jobs that it has submitted. */
export function GenerateView() {
  return html`<${Page} title="Generate" />`;
}
