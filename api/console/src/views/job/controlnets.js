import { useState } from "preact/hooks";

import { formatPercent } from "../../format.js";
import { html } from "../../html.js";

/** What each ControlNet of a job was given: its control image, and the map that a preprocessor has made of it. */
export function ControlNets({ job }) {
  if (!job.controlnets.length) return null;
  return html`<section class="card stack">
    <h2>ControlNets</h2>
    <ul class="controlnets">
      ${job.controlnets.map(({ name, preprocessor, map_url }, n) => {
        const { conditioning_scale, guidance_start, guidance_end, control_mode } = job.request.controlnets[n];
        const home = `v1/jobs/${job.id}/controlnets/${n}`;
        return html`<li key=${n} class="stack">
          <h3>${name}</h3>
          <p class="muted">
            scale ${conditioning_scale}, from ${formatPercent(guidance_start)} to ${formatPercent(guidance_end)} of the steps${control_mode == null ? "" : `, mode ${control_mode}`}
          </p>
          <div class="controlnet-images">
            <${ControlImage} src="${home}/image" caption="Control image" of=${name} />
            ${preprocessor !== "none" && map_url && html`<${ControlImage} src="${home}/map" caption="Map by ${preprocessor}" of=${name} />`}
          </div>
        </li>`;
      })}
    </ul>
  </section>`;
}

function ControlImage({ src, caption, of }) {
  const [isGone, setGone] = useState(false);
  return html`<figure>
    ${isGone
      ? html`<p class="muted">gone: its time is over</p>`
      : html`<a href=${src} target="_blank" rel="noopener"><img src=${src} alt="${caption} of ${of}" loading="lazy" decoding="async" onError=${() => setGone(true)} /></a>`}
    <figcaption class="muted">${caption}</figcaption>
  </figure>`;
}
