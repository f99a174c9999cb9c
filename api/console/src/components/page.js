import { useEffect, useRef } from "preact/hooks";

import { html } from "../html.js";

/** A view: its one <h1>, which gets the focus when the view appears, buttons beside it, and the content. */
export function Page({ title, actions, children, className = "" }) {
  const heading = useRef(null);
  useEffect(() => {
    document.title = `${title} – swiftdiffusion`;
    // Not at the first view of a page: the browser's own focus is right then.
    if (document.activeElement !== document.body || heading.current.dataset.moved) return;
    heading.current.focus({ preventScroll: true });
  }, [title]);
  return html`<div class="page ${className}">
    <header class="page-header">
      <h1 ref=${heading} tabindex="-1">${title}</h1>
      ${actions && html`<div class="page-actions">${actions}</div>`}
    </header>
    ${children}
  </div>`;
}
