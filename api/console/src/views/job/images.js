import { useLayoutEffect, useState } from "preact/hooks";

import { html } from "../../html.js";
import { href } from "../../router.js";
import { imageUrl, thumbnailUrl } from "../../jobs.js";

/** The images of a job: one large, the others to choose from; the arrow keys turn them over. */
export function Images({ job }) {
  const [n, setN] = useState(0);
  const [gone, setGone] = useState(null); // the image whose file is not there
  const count = job.images.length;
  const turn = (change) => setN((before) => (before + change + count) % count);
  useArrows(count > 1 ? turn : null);
  const image = job.images[n];
  const name = `image ${n + 1} of ${count}`;
  return html`<figure class="viewer">
    <div class="viewer-image">
      ${gone === n
        ? html`<p class="muted">The file of this image is gone: its time is over.</p>`
        : html`<img key=${n} src=${imageUrl(job.id, n)} width=${image.width} height=${image.height} alt="Generated ${name}: ${job.request.prompt}" onError=${() => setGone(n)} />`}
    </div>
    <figcaption class="viewer-bar">
      ${count > 1 &&
      html`<div class="row">
        <button type="button" class="button button-small" aria-label="Previous image" aria-keyshortcuts="ArrowLeft" onClick=${() => turn(-1)}>←</button>
        <span aria-live="polite">Image ${n + 1} of ${count}</span>
        <button type="button" class="button button-small" aria-label="Next image" aria-keyshortcuts="ArrowRight" onClick=${() => turn(1)}>→</button>
      </div>`}
      <span class="muted">${image.width} × ${image.height} · seed ${image.seed}</span>
      <div class="row viewer-actions">
        <a class="button button-small" href=${imageUrl(job.id, n)} download=${fileName(job, n)}>Download</a>
        ${count > 1 && html`<a class="button button-small" href="v1/jobs/${job.id}/images.zip" download="${job.id}.zip">All as zip</a>`}
        <a class="button button-small" href=${href("gallery", "", { verify: `${job.id}-${n}` })}>Verify</a>
      </div>
    </figcaption>
    ${count > 1 &&
    html`<ul class="viewer-strip" aria-label="Images of the job">
      ${job.images.map(
        (one, i) => html`<li key=${i}>
          <button type="button" aria-label="Show image ${i + 1}" aria-current=${i === n ? "true" : undefined} onClick=${() => setN(i)}>
            <img src=${thumbnailUrl(job.id, i)} width=${one.width} height=${one.height} alt="" loading="lazy" decoding="async" />
          </button>
        </li>`,
      )}
    </ul>`}
  </figure>`;
}

/** What an image is called when it is saved. */
export function fileName(job, n) {
  return `${job.id}-${n}.${job.images[n].content_type.split("/")[1]}`;
}

function useArrows(turn) {
  useLayoutEffect(() => {
    if (!turn) return undefined;
    const onKey = (event) => {
      const change = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!change || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      // Where the arrows have a meaning of their own.
      if (event.target.closest?.("input, textarea, select, pre, .chart-scroll, .timeline-table, dialog")) return;
      turn(change);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [turn !== null]);
}
