import { html } from "../../html.js";
import { href } from "../../router.js";

/** Links to the parts of one view: `tabs` are [arg, text], `current` is the `arg` that is shown. */
export function Tabs({ view, label, tabs, current }) {
  return html`<nav class="tabs" aria-label=${label}>
    ${tabs.map(
      ([arg, text]) => html`<a key=${arg} href=${href(view, arg)} aria-current=${arg === current ? "page" : undefined}>${text}</a>`,
    )}
  </nav>`;
}
