import { useEffect, useRef, useState } from "preact/hooks";

import { html } from "../../html.js";
import { thumbnailUrl } from "../../jobs.js";
import { href } from "../../router.js";
import { SameAgain } from "../job/same_again.js";

/** Images within this distance of the screen are loaded; farther ones are given back. */
const NEAR = "600px";

/** One image of the gallery. */
export function Tile({ job, image, n }) {
  const prompt = job.prompt || "without a prompt";
  return html`<li class="tile">
    <a class="tile-image" href=${href("job", job.id)} aria-label="Open the job of “${prompt}”">
      <${NearImage} src=${thumbnailUrl(job.id, n)} image=${image} />
    </a>
    <p class="tile-prompt" title=${prompt}>${prompt}</p>
    <p class="tile-actions">
      <${SameAgain} id=${job.id} className="link-button" />
      <a href=${href("generate", "", { from: job.id })}>Edit</a>
      <a href=${href("gallery", "", { verify: `${job.id}-${n}` })}>Verify</a>
    </p>
  </li>`;
}

/** An image that is in the page only while it is near the screen. */
function NearImage({ src, image }) {
  const place = useRef(null);
  const [isNear, setNear] = useState(false);
  const [isGone, setGone] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => setNear(entries.at(-1).isIntersecting), { rootMargin: NEAR });
    observer.observe(place.current);
    return () => observer.disconnect();
  }, []);
  return html`<span ref=${place}>
    ${isGone && html`<span class="muted">gone: its time is over</span>`}
    ${isNear && !isGone && html`<img src=${src} width=${image.width} height=${image.height} alt="" loading="lazy" decoding="async" onError=${() => setGone(true)} />`}
  </span>`;
}
