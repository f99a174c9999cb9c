import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";

import { request } from "../../api.js";
import { html } from "../../html.js";

const CHANGING_MS = 300;
/** Whether the API can compute control maps without a job; found out by asking. */
const isOffered = signal(true);

/** What the ControlNet will be given in a job of this `size`: the preprocessor's output, computed at once. */
export function ControlMap({ controlnet, n, size }) {
  const [map, setMap] = useState({ url: null, error: null });
  const { image, preprocessor, preprocessor_options } = controlnet;
  const { width, height } = size;
  const options = JSON.stringify(preprocessor_options);

  useEffect(() => {
    const abort = new AbortController();
    const ask = async () => {
      const json = { image: image.data, preprocessor, preprocessor_options: JSON.parse(options) };
      if (width) json.width = Number(width);
      if (height) json.height = Number(height);
      try {
        const blob = await request("v1/controlnets/preprocess", { method: "POST", json, signal: abort.signal });
        setMap({ url: URL.createObjectURL(blob), error: null });
      } catch (error) {
        if (error.name === "AbortError") return;
        if ([404, 405].includes(error.status) && !error.field) isOffered.value = false;
        setMap({ url: null, error: error.detail });
      }
    };
    const timer = setTimeout(ask, CHANGING_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [image.data, preprocessor, options, width, height]);
  useEffect(() => () => map.url && URL.revokeObjectURL(map.url), [map.url]);

  if (!isOffered.value) return null;
  return html`<figure class="control-map" aria-live="polite">
    ${map.url && html`<img src=${map.url} alt="Control map ${n + 1}: ${preprocessor}" />`}
    ${map.error ? html`<figcaption class="field-error">${map.error}</figcaption>` : html`<figcaption class="muted">Control map: what the ControlNet is given.</figcaption>`}
  </figure>`;
}
