import { useEffect, useState } from "preact/hooks";

import { html } from "../html.js";
import { notify } from "./toast.js";

const SHOWN_MS = 2000;

/** A button that copies a text: `text` or a function that returns it; says so for a moment. */
export function CopyButton({ text, label = "Copy" }) {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    const timer = isCopied && setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const copy = async () => {
    if (await copyText(typeof text === "function" ? text() : text)) setCopied(true);
    else notify("The browser did not copy the text: select it and copy it yourself.", "bad");
  };
  return html`<button type="button" class="button button-small" onClick=${copy}>
    <span aria-live="polite">${isCopied ? "Copied" : label}</span>
  </button>`;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text); // pages without TLS have no clipboard
  }
}

function copySelected(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  const before = document.activeElement;
  (document.querySelector("dialog[open]") ?? document.body).append(area); // beside an open dialog nothing gets the focus
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  before?.focus();
  return isDone;
}
