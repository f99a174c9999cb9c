import { useState } from "preact/hooks";

import { html } from "../html.js";
import { notify } from "./toast.js";

/** Put a text into the clipboard; returns whether that worked. Over plain http browsers have no clipboard API. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

/** A button that copies `text`, and says so. `label` is what it says: "Copy". */
export function CopyButton({ text, label = "Copy", small = false }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    if (await copyText(text)) {
      setDone(true);
      setTimeout(() => setDone(false), 2000);
    } else notify("the browser does not allow copying: select the text and copy it", "bad");
  };
  return html`<button type="button" class="button ${small ? "button-small" : ""}" onClick=${copy}>
    <span aria-live="polite">${isDone ? "Copied" : label}</span>
  </button>`;
}

function copySelected(text) {
  const area = document.createElement("textarea");
  area.value = text;
  // Within the open dialog: elsewhere nothing can have the focus.
  const place = document.querySelector("dialog[open]") ?? document.body;
  const before = document.activeElement;
  place.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  before?.focus();
  return isDone;
}
