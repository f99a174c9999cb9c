import { useEffect, useState } from "preact/hooks";

import { html } from "../html.js";
import { previewUrl } from "../jobs.js";

/** Asked for so often at least: the API has workers make previews for half a minute after each question. */
const KEEP_MS = 20_000;

/** The latest preview of a running job; an image that changes step by step, and `children` while there is none. */
export function Preview({ job, children = null }) {
  const [url, setUrl] = useState(null);
  const [asked, setAsked] = useState(0);
  const address = previewUrl(job);

  useEffect(() => {
    const timer = setInterval(() => setAsked((count) => count + 1), KEEP_MS);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    const abort = new AbortController();
    load(address, abort.signal).then((loaded) => loaded && setUrl(loaded), () => {});
    return () => abort.abort();
  }, [address, job.status, asked]);
  useEffect(() => () => url && URL.revokeObjectURL(url), [url]);

  if (!url) return children;
  return html`<img class="preview" src=${url} alt="Preview after step ${job.progress?.step ?? 0}" />`;
}

/** No `request`: that there is no preview yet is nothing that anybody need be told. */
async function load(address, signal) {
  const answer = await fetch(address, { signal, credentials: "same-origin" });
  return answer.ok ? URL.createObjectURL(await answer.blob()) : null;
}
