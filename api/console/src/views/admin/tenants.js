import { Page } from "../../components/page.js";
import { html } from "../../html.js";

/** Tenants. */
export function TenantsView() {
  return html`<${Page} title="Tenants" />`;
}
