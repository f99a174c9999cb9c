import { useEffect, useMemo, useState } from "preact/hooks";

import { Empty, LoadError } from "../components/empty.js";
import { Field, Select } from "../components/field.js";
import { Page } from "../components/page.js";
import { Progress } from "../components/progress.js";
import { plural } from "../format.js";
import { html } from "../html.js";
import { byAge, byTurn, jobList } from "../job_list.js";
import { href, navigate } from "../router.js";
import { may, session } from "../session.js";
import { cancelAll, cancelJobs, cancelling } from "./queue/cancel_many.js";
import { Rows } from "./queue/rows.js";

const FILTERS = [
  ["active", "waiting and running"],
  ["all", "all"],
  ["queued", "queued"],
  ["running", "running"],
  ["succeeded", "succeeded"],
  ["failed", "failed"],
  ["cancelled", "cancelled"],
];

/** What these filters show; each other one shows the status of its name. */
const STATUSES = { active: ["running", "queued"], all: [null] };
const FIELDS = "created_at,started_at,finished_at,queue_position,progress,model,prompt,priority,estimate,error,tenant";

/** Jobs that wait and run, and those before them. */
export function QueueView({ query }) {
  const filter = FILTERS.some(([name]) => name === query.status) ? query.status : "active";
  const seesAll = session.value.auth === "keys" && may("admin");
  const tenants = seesAll && query.tenants === "all" ? "all" : "own";
  const queue = useMemo(() => queueJobs(filter, tenants), [filter, tenants]);
  useEffect(queue.start, [queue]);
  const choose = (changes) => navigate("queue", "", { status: filter, tenants, ...changes });
  return html`<${Page} title="Queue" actions=${html`<${CancelButtons} />`}>
    <div class="queue-filters">
      <${Field} label="Status"><${Select} options=${FILTERS} value=${filter} onChange=${(status) => choose({ status })} /></>
      ${seesAll &&
      html`<${Field} label="Tenants">
        <${Select} options=${[["own", "mine"], ["all", "all"]]} value=${tenants} onChange=${(chosen) => choose({ tenants: chosen })} />
      </>`}
      <${Count} queue=${queue} />
    </div>
    <${Cancelling} />
    <${Content} queue=${queue} filter=${filter} showsTenant=${tenants === "all"} />
  </>`;
}

function queueJobs(filter, tenants) {
  const isQueue = filter === "active";
  const statuses = STATUSES[filter] ?? [filter];
  return jobList({ statuses, fields: FIELDS, limit: 200, whole: isQueue && "queued", tenants, order: isQueue ? byTurn : byAge });
}

function Count({ queue }) {
  const { rows, hasOlder, isLoaded } = queue;
  return html`<p class="muted queue-count" aria-live="polite">
    ${isLoaded.value ? `${plural(rows.value.length, "job")}${hasOlder.value ? ", and older ones" : ""}` : ""}
  </p>`;
}

function Content({ queue, filter, showsTenant }) {
  const [isBusy, setBusy] = useState(false);
  const { rows, isLoaded, error, hasOlder, load, loadOlder } = queue;
  if (!isLoaded.value) return html`<p class="muted" aria-busy="true">Reading the jobs …</p>`;
  if (error.value && !rows.value.length) return html`<${LoadError} error=${error.value} onRetry=${load} />`;
  if (!rows.value.length) return html`<${Nothing} filter=${filter} />`;
  const older = async () => {
    setBusy(true);
    await loadOlder();
    setBusy(false);
  };
  return html`
    <${Rows} rows=${rows} tenant=${session.value.tenant} showsTenant=${showsTenant} />
    ${error.value && html`<p class="field-error" role="alert">${error.value.detail}</p>`}
    ${hasOlder.value && html`<p class="queue-older"><button type="button" class="button" disabled=${isBusy} onClick=${older}>Show older jobs</button></p>`}
  `;
}

function Nothing({ filter }) {
  if (filter !== "active") {
    return html`<${Empty} title=${filter === "all" ? "No jobs" : `No job is ${filter}`}>Jobs are kept for a while after their end.</>`;
  }
  return html`<${Empty} title="Nothing waits, nothing runs">
    <a href=${href("generate")}>Generate an image</a>, or look at <a href=${href("queue", "", { status: "all" })}>earlier jobs</a>.
  </>`;
}

function CancelButtons() {
  const isBusy = cancelling.value !== null && !cancelling.value.isOver;
  const waiting = () =>
    cancelAll(["queued"], {
      title: (jobs) => `Cancel ${jobs} that wait${jobs.startsWith("1 ") ? "s" : ""}?`,
      text: "Jobs of yours that no worker has begun yet are cancelled. Those that run go on.",
      label: (count) => `Cancel ${count}`,
    });
  const all = () =>
    cancelAll(["queued", "running"], {
      title: (jobs) => `Cancel all of your ${jobs}?`,
      text: "Jobs that wait are cancelled at once, running ones within one step. Finished images stay.",
      label: (count) => `Cancel ${count}`,
    });
  return html`
    <button type="button" class="button" disabled=${isBusy} onClick=${waiting}>Cancel all waiting</button>
    <button type="button" class="button button-bad" disabled=${isBusy} onClick=${all}>Cancel all of mine</button>
  `;
}

function Cancelling() {
  const now = cancelling.value;
  if (now === null) return null;
  const { done, count, failures, isOver } = now;
  const close = () => (cancelling.value = null);
  return html`<section class="notice ${failures.length ? "notice-bad" : "notice-ok"}" aria-label="Cancelling" role="status">
    ${isOver
      ? html`<p><strong>${plural(count - failures.length, "job")} cancelled${failures.length ? `, ${failures.length} not` : ""}</strong></p>`
      : html`<${Progress} label="Jobs cancelled" value=${done} max=${count} text="${done} / ${count} cancelled" />`}
    ${failures.length > 0 &&
    html`<ul>
      ${failures.map(({ id, detail }) => html`<li key=${id}><a href=${href("job", id)}>${id}</a>: ${detail}</li>`)}
    </ul>`}
    ${isOver &&
    html`<div class="row">
      ${failures.length > 0 && html`<button type="button" class="button button-small" onClick=${() => cancelJobs(failures.map(({ id }) => id))}>Try these again</button>`}
      <button type="button" class="button button-small" onClick=${close}>Close</button>
    </div>`}
  </section>`;
}
