import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { Progress } from "../../components/progress.js";
import { Status } from "../../components/status.js";
import { formatSeconds } from "../../format.js";
import { html } from "../../html.js";
import { cancelJob, isLive } from "../../jobs.js";
import { href } from "../../router.js";
import { remainingSeconds } from "../../remaining.js";

/** The table of the queue. An event renders the row of its job alone; ages and estimates move by a clock. */
export function Rows({ rows, tenant, showsTenant }) {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const labels = ["Job", "Status", ...(showsTenant ? ["Tenant"] : []), "Priority", "Place", "Progress", "Done in", "Age"];
  return html`<div class="table-box queue-box">
    <table class="table queue">
      <caption class="visually-hidden">Jobs</caption>
      <thead>
        <tr>
          ${labels.map((label) => html`<th scope="col" key=${label} class="queue-${label.toLowerCase().replace(" ", "-")}">${label}</th>`)}
          <th scope="col"><span class="visually-hidden">Cancel</span></th>
        </tr>
      </thead>
      <tbody>
        ${rows.value.map((job) => html`<${Row} key=${job.peek().id} job=${job} now=${now} tenant=${tenant} showsTenant=${showsTenant} />`)}
      </tbody>
    </table>
  </div>`;
}

function Row({ job: signal, now, tenant, showsTenant }) {
  const job = signal.value;
  const isOwn = job.tenant === tenant;
  const { step, total } = job.progress;
  const prompt = job.prompt || "without a prompt";
  const age = useComputed(() => whole((now.value - Date.parse(signal.value.created_at)) / 1000));
  const rest = useComputed(() => remaining(signal.value, now.value));
  return html`<tr>
    <th scope="row" data-label="Job">
      <div class="queue-name">
        ${isOwn ? html`<a href=${href("job", job.id)} title=${prompt}>${prompt}</a>` : html`<span title=${prompt}>${prompt}</span>`}
        <span class="muted">${job.model}</span>
      </div>
    </th>
    <td data-label="Status"><span title=${job.error?.detail}><${Status} status=${job.status} /></span></td>
    ${showsTenant && html`<td data-label="Tenant">${job.tenant}</td>`}
    <td data-label="Priority" class=${job.priority === "normal" ? "muted" : ""}>${job.priority}</td>
    <td data-label="Place">${job.queue_position ?? "–"}</td>
    <td data-label="Progress" class="queue-progress">
      ${job.status === "running" ? html`<${Progress} label="Progress of ${prompt}" value=${total ? step : null} max=${total} text=${total ? `${step}/${total}` : ""} />` : progressText(job)}
    </td>
    <td data-label="Done in">${rest}</td>
    <td data-label="Age">${age}</td>
    <td class="queue-actions">
      ${isOwn && isLive(job.status) && html`<button type="button" class="button button-small" aria-label="Cancel ${prompt}" onClick=${() => cancelJob(job.id)}>Cancel</button>`}
    </td>
  </tr>`;
}

function remaining(job, now) {
  if (!isLive(job.status)) return "–";
  const seconds = remainingSeconds(job, now);
  if (seconds !== null) return `≈ ${whole(seconds)}`;
  return job.estimate?.eta_s == null ? "unknown" : "later than estimated";
}

// Nothing here is exact to less than a second.
function whole(seconds) {
  return seconds < 10 ? `${Math.max(0, Math.round(seconds))} s` : formatSeconds(seconds);
}

function progressText({ status, progress: { step, total } }) {
  return status !== "queued" && total && step < total ? html`<span class="muted">${step}/${total}</span>` : html`<span class="muted">–</span>`;
}
