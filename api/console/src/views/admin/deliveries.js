import { useState } from "preact/hooks";

import { request } from "../../api.js";
import { Empty, LoadError } from "../../components/empty.js";
import { Page } from "../../components/page.js";
import { Status } from "../../components/status.js";
import { Table } from "../../components/table.js";
import { notify } from "../../components/toast.js";
import { formatAgo, formatDate, plural } from "../../format.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";
import { href } from "../../router.js";

const KINDS = { delivered: "ok", failed: "bad", pending: "accent" };
const PAGE = 50;

/** What was sent to a webhook, of `job` or of all, and what it answered; `id` is `default` for jobs' own webhooks. */
export function Deliveries({ id, job }) {
  const path = `v1/webhooks/${encodeURIComponent(id)}`;
  const [cursors, setCursors] = useState([""]); // of the pages up to the one that is shown
  const cursor = cursors.at(-1);
  const webhook = useResource(id === "default" ? null : path);
  const { data, error, reload } = useResource(`${path}/deliveries?${new URLSearchParams({ limit: PAGE, ...(cursor && { cursor }), ...(job && { job }) })}`, { everyMs: 3000 });
  const replay = async (json) => {
    try {
      const { replayed } = await request(`${path}/replay`, { method: "POST", json });
      notify(replayed ? `${plural(replayed, "delivery").replace("deliverys", "deliveries")} sent again` : "No delivery has failed", "ok");
    } catch (refused) {
      notify(refused.detail, "bad");
    }
    reload();
  };
  const actions = html`
    <a class="button" href=${href("webhooks")}>All webhooks</a>
    <button type="button" class="button" onClick=${() => replay({})}>Send all failed again</button>
  `;
  const to = id === "default" ? "webhooks of single jobs" : (webhook.data?.url ?? id);
  return html`<${Page} title="Deliveries" actions=${actions}>
    <p class="muted">To ${to}, newest first${job && html`, of <a href=${href("job", job)}>job ${job}</a> (<a href=${href("webhooks", id)}>of all jobs</a>)`}.</p>
    ${error && html`<${LoadError} error=${error} onRetry=${reload} />`}
    ${data?.deliveries.length === 0 && html`<${Empty} title="Nothing was sent yet">A delivery appears here when a job reaches one of the webhook's events.</>`}
    ${data?.deliveries.length > 0 && html`<${DeliveryTable} deliveries=${data.deliveries} showsUrl=${id === "default"} onReplay=${replay} />`}
    <div class="row">
      ${cursors.length > 1 && html`<button type="button" class="button" onClick=${() => setCursors(cursors.slice(0, -1))}>Newer</button>`}
      ${data?.next_cursor && html`<button type="button" class="button" onClick=${() => setCursors([...cursors, data.next_cursor])}>Older</button>`}
    </div>
  </>`;
}

function DeliveryTable({ deliveries, showsUrl, onReplay }) {
  const columns = [
    { key: "event", label: "Event", isHeader: true },
    { key: "job", label: "Job", render: (one) => html`<a class="mono" href=${href("job", one.job_id)}>${one.job_id}</a>` },
    ...(showsUrl ? [{ key: "url", label: "Address", render: ({ url }) => html`<span class="breakable">${url}</span>` }] : []),
    { key: "status", label: "Status", render: (one) => html`<${Status} status=${one.status} kind=${KINDS[one.status]} />` },
    { key: "attempts", label: "Attempts", align: "end" },
    { key: "answer", label: "Last answer", render: answerOf },
    { key: "tried", label: "Last attempt", render: (one) => (one.last_attempt_at ? formatAgo(one.last_attempt_at) : "not yet") },
    { key: "next", label: "Next attempt", render: (one) => (one.next_attempt_at ? formatDate(one.next_attempt_at) : "–") },
    { key: "actions", label: "Actions", align: "end", render: (one) => html`<button type="button" class="button button-small" aria-label="Send ${one.id} again" onClick=${() => onReplay({ deliveries: [one.id] })}>Send again</button>` },
  ];
  return html`<${Table} caption="Deliveries" columns=${columns} rows=${deliveries} />`;
}

function answerOf({ response_status: status, error }) {
  if (status !== null) return `HTTP ${status}`;
  return error ? html`<span class="delivery-error breakable">${error}</span>` : html`<span class="muted">none yet</span>`;
}
