import { useEffect, useMemo, useRef } from "preact/hooks";

import { Empty, LoadError } from "../components/empty.js";
import { Page } from "../components/page.js";
import { html } from "../html.js";
import { jobList } from "../job_list.js";
import { href } from "../router.js";
import { Tile } from "./gallery/tile.js";
import { Verify } from "./gallery/verify.js";

const LIST = { statuses: ["succeeded"], fields: "created_at,model,prompt,images", limit: 40 };

/** The images that are finished, and what tells whether an image is one of them. */
export function GalleryView({ query }) {
  const gallery = useMemo(() => jobList(LIST), []);
  useEffect(gallery.start, [gallery]);
  return html`<${Page} title="Gallery">
    <${Verify} chosen=${query.verify} />
    <${Images} gallery=${gallery} />
  </>`;
}

function Images({ gallery: { rows, isLoaded, error, hasOlder, load, loadOlder } }) {
  const end = useRef(null);
  const images = rows.value.flatMap(({ value: job }) => job.images.map((image, n) => ({ key: `${job.id}-${n}`, job, image, n })));
  useEffect(() => {
    if (!end.current) return undefined;
    const observer = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && loadOlder(), { rootMargin: "800px" });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [isLoaded.value, hasOlder.value, images.length]); // anew: the end may still be on the screen
  if (!isLoaded.value) return html`<p class="muted" aria-busy="true">Reading the images …</p>`;
  if (error.value && !images.length) return html`<${LoadError} error=${error.value} onRetry=${load} />`;
  if (!images.length) {
    return html`<${Empty} title="No images yet"><a href=${href("generate")}>Generate the first one</a>; it appears here when it is finished.</>`;
  }
  return html`
    <h2 class="visually-hidden">Finished images</h2>
    <ul class="tiles">${images.map((one) => html`<${Tile} ...${one} key=${one.key} />`)}</ul>
    ${error.value && html`<p class="field-error" role="alert">${error.value.detail}</p>`}
    ${hasOlder.value && html`<p class="gallery-end" ref=${end}><button type="button" class="button" onClick=${loadOlder}>Show older images</button></p>`}
  `;
}
