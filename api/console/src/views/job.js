import { Empty, LoadError } from "../components/empty.js";
import { Page } from "../components/page.js";
import { Status } from "../components/status.js";
import { html } from "../html.js";
import { isLive, useJob } from "../jobs.js";
import { href } from "../router.js";
import { Actions } from "./job/actions.js";
import { ControlNets } from "./job/controlnets.js";
import { Facts } from "./job/facts.js";
import { Images } from "./job/images.js";
import { Live } from "./job/live.js";
import { ReceiptPanel, RequestPanel, useExactJob } from "./job/records.js";
import { Timeline } from "./job/timeline.js";

/** One job: what it makes, what it was asked for, where its time went. */
export function JobView({ arg }) {
  const { job, error, reload } = useJob(arg);
  const exact = useExactJob(arg, job?.status);
  if (job === null) return html`<${Page} title="Job">${error && html`<${Missing} error=${error} onRetry=${reload} />`}</>`;
  const actions = html`<${Actions} job=${job} onChange=${reload} />`;
  return html`<${Page} title="Job ${job.id}" actions=${actions} className="job">
    <div class="job-head">
      <span aria-live="polite"><${Status} status=${job.status} /></span>
      <p class="job-prompt">${job.request.prompt || html`<span class="muted">without a prompt</span>`}</p>
      ${job.request.negative_prompt && html`<p class="muted">without: ${job.request.negative_prompt}</p>`}
    </div>
    <${Problems} job=${job} />
    <div class="job-top">
      <section class="card" aria-label="Images">${content(job)}</section>
      <section class="card" aria-label="Facts"><${Facts} job=${job} /></section>
    </div>
    <${ControlNets} job=${job} />
    ${!isLive(job.status) &&
    html`<section class="card stack"><h2>Timeline</h2><${Timeline} timeline=${job.timeline} /></section>`}
    ${exact && html`<div class="job-records">
      ${exact.receipt && html`<${ReceiptPanel} exact=${exact} />`}
      <${RequestPanel} exact=${exact} />
    </div>`}
  </>`;
}

function content(job) {
  if (isLive(job.status)) return html`<${Live} job=${job} />`;
  if (job.images.length) return html`<${Images} job=${job} />`;
  return html`<${Empty} title="No image">The job ${job.status === "failed" ? "has failed" : "was cancelled"} before it had one.</>`;
}

function Problems({ job }) {
  if (!job.error && !job.warnings.length) return null;
  return html`<div class="stack">
    ${job.error &&
    html`<div class="notice notice-bad"><p><strong>Failed: <code>${job.error.code}</code></strong></p><p>${job.error.detail}</p></div>`}
    ${job.warnings.length > 0 &&
    html`<div class="notice notice-warn">
      <p><strong>${job.warnings.length > 1 ? "Warnings" : "Warning"}</strong></p>
      <ul>${job.warnings.map((warning) => html`<li key=${warning}>${warning}</li>`)}</ul>
    </div>`}
  </div>`;
}

function Missing({ error, onRetry }) {
  if (error.status !== 404) return html`<${LoadError} error=${error} onRetry=${onRetry} />`;
  return html`<${Empty} title="There is no such job">
    <p>It was deleted, its time is over, or it is another tenant's.</p>
    <p>See the <a href=${href("queue")}>queue</a> or the <a href=${href("gallery")}>gallery</a>.</p>
  </>`;
}
