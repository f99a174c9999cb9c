import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { html } from "../html.js";

let isFirst = true;

/** A view: its one <h1>, which gets the focus when the view appears, buttons beside it, and the content. */
export function Page({ title, actions, children, className = "" }) {
  const heading = useRef(null);
  // Before the page is painted: later it would take the focus from what the user has gone to.
  useLayoutEffect(() => {
    if (!isFirst) heading.current.focus(); // of the first one the browser's own focus is right
    isFirst = false;
  }, []);
  useEffect(() => {
    document.title = `${title} – swiftdiffusion`;
  }, [title]);
  return html`<div class="page ${className}">
    <header class="page-header">
      <h1 ref=${heading} tabindex="-1">${title}</h1>
      ${actions && html`<div class="page-actions">${actions}</div>`}
    </header>
    ${children}
  </div>`;
}
