import { useEffect, useState } from "preact/hooks";

import { request } from "../../api.js";
import { html } from "../../html.js";
import { imageUrl, isLive, useJob } from "../../jobs.js";
import { areEqual, comparePixels } from "../../receipts/compare.js";
import { submitReceipt } from "../../receipts/replay.js";
import { href } from "../../router.js";
import { Live } from "../job/live.js";
import { Comparison } from "./comparison.js";

/** Generates the image of a receipt again, and says whether it is the same. */
export function Replay({ found, image }) {
  const [id, setId] = useState(null);
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const start = async () => {
    setBusy(true);
    setError(null);
    try {
      setId((await submitReceipt(found.receipt)).id);
    } catch (refused) {
      setError(refused.detail ?? refused.message);
    }
    setBusy(false);
  };
  return html`
    ${!id && html`<p><button type="button" class="button button-primary" disabled=${isBusy} onClick=${start}>Generate it again and compare</button></p>`}
    ${error && html`<div class="notice notice-bad" role="alert"><p><strong>The fleet refused the receipt</strong></p><p>${error}</p></div>`}
    ${id && html`<${Running} key=${id} id=${id} found=${found} image=${image} />`}
  `;
}

function Running({ id, found, image }) {
  const { job, error } = useJob(id);
  const [outcome, setOutcome] = useState(null); // {again, result} or {error}
  const isOver = job !== null && !isLive(job.status);
  useEffect(() => {
    if (isOver) compare(job, found, image).then(setOutcome, (failed) => setOutcome({ error: failed.detail ?? failed.message }));
  }, [isOver]);
  return html`<div class="stack" aria-live="polite">
    <p>Generated again by <a href=${href("job", id)}>job ${id}</a></p>
    ${error && html`<p class="field-error">${error.detail}</p>`}
    ${job && !isOver && html`<${Live} job=${job} />`}
    ${isOver && !outcome && html`<p class="muted">Comparing …</p>`}
    ${outcome?.error && html`<div class="notice notice-bad"><p><strong>Not compared</strong></p><p>${outcome.error}</p></div>`}
    ${outcome?.result && html`<${Comparison} outcome=${outcome} image=${image} />`}
    ${job?.warnings.length > 0 &&
    html`<div class="notice notice-warn">
      <p><strong>Warnings</strong></p>
      <ul>${job.warnings.map((warning) => html`<li key=${warning}>${warning}</li>`)}</ul>
    </div>`}
  </div>`;
}

async function compare(job, { index, bytes }, image) {
  if (job.status !== "succeeded") throw new Error(job.error?.detail ?? `the job was ${job.status}`);
  if (index >= job.images.length) {
    throw new Error(`the image claims to be image ${index + 1}, but its receipt is of ${job.images.length}`);
  }
  const again = await request(imageUrl(job.id, index), { headers: { Accept: "image/*" } });
  if (areEqual(bytes, new Uint8Array(await again.arrayBuffer()))) return { again, result: { isSameFile: true } };
  return { again, result: await comparePixels(image.blob, again) };
}
