import { html } from "../html.js";

/** A word in a frame; `kind` (ok, warn, bad, accent, muted) adds a colour to it. */
export function Tag({ kind = "muted", title, children }) {
  return html`<span class="tag tag-${kind}" title=${title}>${children}</span>`;
}

/** Tags side by side as a list; `none` is said where there are none. */
export function Tags({ label, children, none = "none" }) {
  const found = [children].flat(Infinity).filter(Boolean);
  if (!found.length) return html`<span class="muted">${none}</span>`;
  return html`<ul class="tags" aria-label=${label}>${found.map((tag, index) => html`<li key=${tag.key ?? index}>${tag}</li>`)}</ul>`;
}
