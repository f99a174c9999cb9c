import { signal } from "@preact/signals";

import { Chart } from "../../components/chart.js";
import { html } from "../../html.js";
import { formatPercent, plural } from "../../format.js";
import { busyShare } from "./workers.js";

const KEPT_S = 600;
/** Samples of this page since it was opened, the oldest first: [seconds since 1970, jobs waiting, busy share]. */
const samples = signal([]);

/** Add what the fleet is like now to the chart. */
export function noteFleet(fleet) {
  const now = Date.now() / 1000;
  const kept = samples.value.filter(([at]) => at > now - KEPT_S);
  samples.value = [...kept, [now, fleet.jobs.queued, fleet.workers.length ? busyShare(fleet.workers) : null]];
}

const SERIES = [
  { color: "--accent", scale: "jobs", kind: "steps" }, // jobs are whole: a sloping line would show halves
  { color: "--ok", scale: "share", fill: true },
];
const AXES = [
  { space: 72, size: 28, values: (_, times) => times.map(clockTime) },
  { scale: "jobs", size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000] },
  { scale: "share", side: 1, size: 52, grid: { show: false }, values: (_, shares) => shares.map(formatPercent) },
];
const SCALES = {
  x: { range: () => [Date.now() / 1000 - KEPT_S, Date.now() / 1000] },
  jobs: { range: (_, __, most) => [0, Math.max(4, Math.ceil((most ?? 0) * 1.1))] },
  share: { range: [0, 1] },
};

/** Jobs that wait and the share of devices that are busy, since the view was opened, ten minutes at most. */
export function HistoryChart() {
  const found = samples.value;
  const columns = [0, 1, 2].map((column) => found.map((sample) => sample[column]));
  const [, jobs = 0, share = null] = found.at(-1) ?? [];
  const most = Math.max(0, ...columns[1]);
  const label = `The last minutes: ${plural(jobs, "job")} waiting now, ${most} at most; devices busy for ${formatPercent(share)} of the last minute`;
  return html`<section class="card stack" aria-labelledby="history">
    <header class="row chart-header">
      <h2 id="history">Last ten minutes</h2>
      <ul class="chart-legend">
        <li class="chart-accent">Jobs waiting (left)</li>
        <li class="chart-ok">Busy share of all devices (right)</li>
      </ul>
    </header>
    <${Chart} data=${columns} series=${SERIES} axes=${AXES} scales=${SCALES} label=${label} />
    <p class="muted">Collected by this page while it is open.</p>
  </section>`;
}

function clockTime(time) {
  return new Date(time * 1000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}
