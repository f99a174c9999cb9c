import { useEffect } from "preact/hooks";

import { Empty, LoadError } from "../components/empty.js";
import { Page } from "../components/page.js";
import { html } from "../html.js";
import { useResource } from "../resource.js";
import { AdviceList } from "./fleet/advice.js";
import { HistoryChart, noteFleet } from "./fleet/history.js";
import { Queues } from "./fleet/queues.js";
import { busyShare, isUnavailable, Workers } from "./fleet/workers.js";
import { formatPercent } from "../format.js";

const READ_MS = 2000;

/** What lives in the fleet: workers, what they hold and do, queues, and what is short of devices. */
export function FleetView() {
  const fleet = useResource("v1/fleet", { everyMs: READ_MS });
  const models = useResource("v1/models", { everyMs: 10_000 });
  const controlnets = useResource("v1/controlnets", { everyMs: 10_000 });
  const { data, error } = fleet;
  useEffect(() => data && noteFleet(data), [data]);

  if (!data) {
    const shown = error ? html`<${LoadError} error=${error} onRetry=${fleet.reload} />` : html`<p class="muted">Reading the fleet …</p>`;
    return html`<${Page} title="Fleet">${shown}</>`;
  }
  return html`<${Page} title="Fleet" className="fleet">
    ${error && html`<p class="notice notice-warn" role="status">This may be out of date: ${error.detail}.</p>`}
    <${Figures} fleet=${data} />
    <${AdviceList} fleet=${data} />
    ${data.workers.length ? html`<${Workers} fleet=${data} />` : html`<${NoWorkers} />`}
    <${HistoryChart} />
    <${Queues} fleet=${data} models=${models.data?.models ?? []} controlnets=${controlnets.data?.controlnets ?? []} />
  </>`;
}

function Figures({ fleet }) {
  const { workers, jobs } = fleet;
  const away = workers.filter(isUnavailable).length;
  const figures = [
    ["Workers alive", workers.length],
    ...(away ? [["of them take no work", away]] : []),
    ["Hosts", new Set(workers.map((worker) => worker.host)).size],
    ["Jobs running", jobs.running],
    ["Jobs waiting", jobs.queued],
    ["Busy, last minute", formatPercent(workers.length ? busyShare(workers) : null)],
  ];
  return html`<dl class="figures">
    ${figures.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

function NoWorkers() {
  return html`<${Empty} title="No worker is alive">
    <p>
      Jobs are accepted and wait until one is. On one machine <code>make up</code> starts the whole fleet; a single
      UNet worker starts with
    </p>
    <pre>celery -A workers.unet.app worker --pool=threads --concurrency=1 -E</pre>
    <p>It appears here once it has connected to Redis, within seconds.</p>
  </>`;
}
