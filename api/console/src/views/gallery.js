import { Page } from "../components/page.js";
import { html } from "../html.js";

/** Gallery. */
export function GalleryView() {
  return html`<${Page} title="Gallery" />`;
}
