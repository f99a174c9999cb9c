import { useId, useRef, useState } from "preact/hooks";

import { html } from "../html.js";

/**
 * Takes files that are dropped or picked: onFiles([File, …]). The button is what the keyboard reaches. Children, such
 * as the image that was taken, are shown in place of the invitation.
 */
export function FileDrop({ label, accept = "image/*", multiple = false, hint, error, onFiles, children }) {
  const [isOver, setOver] = useState(false);
  const depth = useRef(0); // dragenter and dragleave also come from what is inside
  const input = useRef(null);
  const id = useId();

  const take = (list) => {
    const files = [...(list ?? [])];
    if (files.length) onFiles(multiple ? files : files.slice(0, 1));
  };
  const over = (change) => (event) => {
    event.preventDefault();
    depth.current += change;
    setOver(depth.current > 0);
  };
  const drop = (event) => {
    event.preventDefault();
    depth.current = 0;
    setOver(false);
    take(event.dataTransfer?.files);
  };
  return html`<div
    class="file-drop ${isOver ? "file-drop-over" : ""} ${error ? "file-drop-bad" : ""}"
    onDragEnter=${over(1)} onDragLeave=${over(-1)} onDragOver=${(event) => event.preventDefault()} onDrop=${drop}
  >
    <input
      ref=${input} type="file" hidden accept=${accept}
      multiple=${multiple} onChange=${(event) => {
        take(event.target.files);
        event.target.value = ""; // so that the same file may be picked again
      }}
    />
    ${children ??
    html`<button
      type="button" class="file-drop-button" aria-describedby=${error ? `${id}-error` : undefined}
      onClick=${() => input.current.click()}
    >
      <strong>${label}</strong><span>${hint ?? "drop a file here, or press to pick one"}</span>
    </button>`}
    ${error && html`<p class="field-error" id="${id}-error">${error}</p>`}
  </div>`;
}
