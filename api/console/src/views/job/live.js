import { Preview } from "../../components/preview.js";
import { Progress } from "../../components/progress.js";
import { formatSeconds } from "../../format.js";
import { html } from "../../html.js";
import { useRemaining } from "../../remaining.js";

/** What a job that has not ended does now: its place in the queue, or its progress with a preview. */
export function Live({ job }) {
  const { step, total } = job.progress;
  const remaining = useRemaining(job);
  const rest = remaining === null ? "" : `, about ${formatSeconds(remaining)} left`;
  return html`<div class="live">
    <div class="live-preview">
      ${job.status === "running" && html`<${Preview} job=${job}><p class="muted">No preview yet</p></>`}
      ${job.status === "queued" && html`<p class="muted">No worker has begun it yet</p>`}
    </div>
    <div class="stack">
      ${job.status === "queued"
        ? html`<p><span aria-live="polite">Waiting${job.queue_position ? ` at place ${job.queue_position} of your queue` : ""}</span>${rest}.</p>`
        : html`<p>${total ? `Step ${step} of ${total}` : "Preparing"}${rest}.</p>`}
      <${Progress} label="Progress of the job" value=${total ? step : null} max=${total} text=${total ? `${step} / ${total}` : ""} />
    </div>
  </div>`;
}
