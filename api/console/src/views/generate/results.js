import { useEffect } from "preact/hooks";

import { Empty } from "../../components/empty.js";
import { Preview } from "../../components/preview.js";
import { Progress } from "../../components/progress.js";
import { Status } from "../../components/status.js";
import { formatSeconds, plural } from "../../format.js";
import { html } from "../../html.js";
import { cancelJob, imageUrl, isLive } from "../../jobs.js";
import { useRemaining } from "../../remaining.js";
import { href } from "../../router.js";
import { setFields } from "./form_state.js";
import { removeSubmitted, submitted } from "./submitted.js";

/** The jobs that were submitted here, newest first: live previews, then images. */
export function Results() {
  const ended = submitted.value.filter(({ state: { value: { job } } }) => job && !isLive(job.status)).map(({ id }) => id);
  return html`<section class="results" aria-label="Results">
    <header class="row">
      <h2 class="grow">Results</h2>
      ${ended.length > 0 && html`<button type="button" class="button button-small" onClick=${() => removeSubmitted(ended)}>Clear</button>`}
    </header>
    ${submitted.value.length
      ? submitted.value.map((one) => html`<${Submitted} key=${one.id} ...${one} />`)
      : html`<${Empty} title="Nothing submitted yet">
          Describe an image at the left and press <kbd>Ctrl</kbd> <kbd>Enter</kbd>. Previews appear here while it is generated; all
          jobs are in the <a href=${href("gallery")}>gallery</a>.
        </>`}
  </section>`;
}

function Submitted({ id, state, start }) {
  const { job, error } = state.value;
  useEffect(start, [start]);
  useEffect(() => void (error?.status === 404 && removeSubmitted([id])), [error]);
  return job && html`<${JobCard} job=${job} />`;
}

function JobCard({ job }) {
  const { prompt } = job.request;
  return html`<article class="job-card card" aria-label=${`Job: ${prompt}`} data-job=${job.id} data-status=${job.status}>
    <header class="row">
      <${Status} status=${job.status} />
      <p class="grow job-prompt">${prompt}</p>
      ${isLive(job.status) &&
      html`<button type="button" class="button button-small" onClick=${() => cancelJob(job.id)}>Cancel</button>`}
      <a class="button button-small" href=${href("job", job.id)}>Details</a>
    </header>
    ${isLive(job.status) && html`<${LiveJob} job=${job} />`}
    ${job.error && html`<p class="field-error">${job.error.detail}</p>`}
    ${job.warnings.map((text) => html`<p class="warning" key=${text}>${text}</p>`)}
    ${job.images.length > 0 && html`<${Images} job=${job} />`}
    <p class="visually-hidden" role="status">${announcement(job)}</p>
  </article>`;
}

function LiveJob({ job }) {
  const { step = 0, total = 0 } = job.progress ?? {};
  const remaining = useRemaining(job);
  const waits = html`<div class="preview-none muted">${waitingText(job, remaining)}</div>`;
  return html`
    <div class="previews"><${Preview} job=${job}>${waits}</></div>
    ${job.status === "running" &&
    html`<${Progress} label="Steps of the job" value=${total ? step : null} max=${total} text=${total ? `${step} of ${total} steps` : "preparing"} />`}
  `;
}

function waitingText({ status, queue_position }, remaining) {
  if (status === "running") return "The first preview comes after a few steps.";
  const place = queue_position > 1 ? `Number ${queue_position} of your queue.` : "Next in your queue.";
  return remaining === null ? place : `${place} Done in about ${formatSeconds(remaining)}.`;
}

function Images({ job }) {
  return html`<ul class="images ${job.images.length > 1 ? "images-many" : ""}">
    ${job.images.map(
      ({ seed, width, height }, n) => html`<li key=${n}>
        <a href=${imageUrl(job.id, n)} target="_blank" rel="noreferrer">
          <img
            class=${width < 256 ? "pixelated" : ""} src=${imageUrl(job.id, n)} width=${width} height=${height}
            decoding="async" alt=${`Image ${n + 1} of ${job.images.length}: ${job.request.prompt}`}
          />
        </a>
        <p class="row muted">
          <span>${width} × ${height}</span>
          <button type="button" class="link-button" onClick=${() => setFields({ seed: String(seed) })}>Use seed ${seed}</button>
        </p>
      </li>`,
    )}
  </ul>`;
}

/** What screen readers say when the status changes. */
function announcement({ status, request: { prompt }, images }) {
  if (status === "succeeded") return `${plural(images.length, "image")} of “${prompt}”: done.`;
  return isLive(status) ? "" : `“${prompt}”: ${status}.`;
}
