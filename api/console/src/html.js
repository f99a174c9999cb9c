import htm from "htm";
import { h } from "preact";

/** Preact elements from a tagged template: html`<p class="hint">${text}</p>`. */
export const html = htm.bind(h);
