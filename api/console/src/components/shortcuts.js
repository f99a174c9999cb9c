import { signal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";

import { Dialog } from "./dialog.js";
import { html } from "../html.js";
import { navigate } from "../router.js";

/** Letters that go to a view, after "g". */
export const LETTERS = { g: "generate", a: "gallery", q: "queue", f: "fleet", l: "loras", k: "keys", t: "tenants", w: "webhooks" };
const OTHERS = [
  ["Ctrl + Enter", "submit the form of the generate view"],
  ["← →", "turn over the images of a job"],
  ["?", "show this list"],
  ["Esc", "close a dialog"],
];
const isHelpShown = signal(false);

/** Show the list of shortcuts. */
export function showShortcuts() {
  isHelpShown.value = true;
}

/** Listens for shortcuts, and shows their list. */
export function Shortcuts() {
  // Before the page is painted: whoever sees it may press keys at once.
  useLayoutEffect(() => {
    let isGoing = false;
    const onKey = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (document.querySelector("dialog[open]")) return;
      if (event.key === "?") showShortcuts();
      else if (isGoing && LETTERS[event.key]) navigate(LETTERS[event.key]);
      else if (event.key === "g") {
        isGoing = true;
        return;
      }
      isGoing = false;
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  if (!isHelpShown.value) return null;
  const close = () => (isHelpShown.value = false);
  const rows = [...Object.entries(LETTERS).map(([letter, view]) => [`g ${letter}`, `go to ${view}`]), ...OTHERS];
  return html`<${Dialog} title="Keyboard shortcuts" onClose=${close}>
    <dl class="shortcuts">
      ${rows.map(([key, what]) => html`<div key=${key}><dt>${key.split(" ").filter((part) => part !== "+").map((part) => html`<kbd>${part}</kbd>`)}</dt><dd>${what}</dd></div>`)}
    </dl>
  </>`;
}

function isTyping(target) {
  return target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);
}
