import { html } from "../html.js";

/** What stands where there is nothing yet: a title, and as children what to do next. */
export function Empty({ title, children }) {
  return html`<div class="empty">
    <p class="empty-title">${title}</p>
    <div class="empty-text">${children}</div>
  </div>`;
}

/** What stands in place of a list that could not be read, with a button to try again. */
export function LoadError({ error, onRetry }) {
  return html`<div class="empty empty-bad" role="alert">
    <p class="empty-title">${error.detail}</p>
    ${onRetry && html`<button type="button" class="button" onClick=${onRetry}>Try again</button>`}
  </div>`;
}
