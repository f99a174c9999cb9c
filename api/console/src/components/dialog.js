import { signal } from "@preact/signals";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

import { html } from "../html.js";

/**
 * A modal dialog while it is in the page: <${Dialog} title="…" onClose=${…}>…</>. Focus moves into it and back; Escape
 * and a click outside close it. `footer`: its buttons.
 */
export function Dialog({ title, onClose, children, footer, wide = false }) {
  const box = useRef(null);
  const titleId = useId();

  useLayoutEffect(() => {
    const dialog = box.current;
    dialog.showModal();
    return () => dialog.close(); // which gives the focus back
  }, []);

  const onCancel = (event) => {
    event.preventDefault(); // the owner takes it out of the page
    onClose();
  };
  const onClick = (event) => event.target === box.current && onClose();
  return html`<dialog
    ref=${box} class="dialog ${wide ? "dialog-wide" : ""}" aria-labelledby=${titleId} onCancel=${onCancel} onClick=${onClick}
  >
    <div class="dialog-box">
      <header class="dialog-header">
        <h2 id=${titleId}>${title}</h2>
        <button type="button" class="icon-button" aria-label="Close" onClick=${onClose}>×</button>
      </header>
      <div class="dialog-body">${children}</div>
      ${footer && html`<footer class="dialog-footer">${footer}</footer>`}
    </div>
  </dialog>`;
}

const question = signal(null);

/** Ask the user; resolves to whether they confirmed. `label`: what the button does, such as "Delete". */
export function confirm({ title, text, label, isDangerous = false }) {
  question.value?.answer(false);
  return new Promise((resolve) => {
    const answer = (isConfirmed) => {
      question.value = null;
      resolve(isConfirmed);
    };
    question.value = { title, text, label, isDangerous, answer };
  });
}

/** Where questions of `confirm` appear; once in the page. */
export function Confirmation() {
  if (question.value === null) return null;
  const { title, text, label, isDangerous, answer } = question.value;
  const footer = html`
    <button type="button" class="button" onClick=${() => answer(false)}>Keep</button>
    <button type="button" class="button ${isDangerous ? "button-bad" : "button-primary"}" onClick=${() => answer(true)}>
      ${label}
    </button>
  `;
  return html`<${Dialog} title=${title} onClose=${() => answer(false)} footer=${footer}><p>${text}</p></>`;
}
