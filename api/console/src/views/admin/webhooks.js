import { Page } from "../../components/page.js";
import { html } from "../../html.js";

/** Webhooks. */
export function WebhooksView() {
  return html`<${Page} title="Webhooks" />`;
}
