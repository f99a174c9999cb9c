import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { html } from "../html.js";
import { previewUrl } from "../jobs.js";

/** Asked for so often at least: the API has workers make previews for half a minute after each question. */
const KEEP_MS = 20_000;

/** The latest preview of a running job; an image that changes step by step, and `children` while there is none. */
export function Preview({ job, children = null }) {
  const [url, setUrl] = useState(null);
  const [asked, setAsked] = useState(0);
  const address = previewUrl(job);
  const wanted = useRef(null);
  const call = useRef(null); // one at a time: aborted at each step, none would arrive over a slow link

  useEffect(() => {
    const timer = setInterval(() => setAsked((count) => count + 1), KEEP_MS);
    return () => clearInterval(timer);
  }, []);
  useLayoutEffect(() => {
    wanted.current = address; // with the step that is shown: a call that ends just then goes on with it
    if (!call.current) loadLatest(wanted, call, setUrl);
  }, [address, job.status, asked]);
  useEffect(() => () => call.current?.abort(), []);
  useEffect(() => () => url && URL.revokeObjectURL(url), [url]);

  if (!url) return children;
  return html`<img class="preview" src=${url} alt="Preview after step ${job.progress?.step ?? 0}" />`;
}

/** Load what is wanted, and what was wanted meanwhile; `call.current` is what ends it, or null. */
async function loadLatest(wanted, call, onLoaded) {
  const { signal } = (call.current = new AbortController());
  while (wanted.current && !signal.aborted) {
    const address = wanted.current;
    wanted.current = null;
    const loaded = await load(address, signal).catch(() => null);
    if (loaded) onLoaded(loaded);
  }
  call.current = null;
}

/** No `request`: that there is no preview yet is nothing that anybody need be told. */
async function load(address, signal) {
  const answer = await fetch(address, { signal, credentials: "same-origin" });
  return answer.ok ? URL.createObjectURL(await answer.blob()) : null;
}
