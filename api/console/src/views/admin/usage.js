import { useMemo } from "preact/hooks";

import { Chart } from "../../components/chart.js";
import { Empty, LoadError } from "../../components/empty.js";
import { Field, Select } from "../../components/field.js";
import { Table } from "../../components/table.js";
import { formatBytes, formatSeconds } from "../../format.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";
import { navigate } from "../../router.js";

const DAY_S = 86_400;
const PERIODS = [["7", "7 days"], ["30", "30 days"], ["90", "90 days"]];
const SERIES = [{ color: "--accent", kind: "bars", scale: "y", fill: true }];
const AXES = [{ space: 64, grid: { show: false }, size: 28, values: (_, times) => times.map(shortDay) }, { scale: "y", size: 88, values: (_, all) => all.map((used) => (used ? formatSeconds(used) : "0")) }];
const SCALES = { x: { range: (_, least, most) => [least - DAY_S / 2, most + DAY_S / 2] }, y: { range: (_, __, most) => [0, most * 1.1 || 1] } };

/** What tenants have used, by day: device seconds as a chart, everything as a table. */
export function Usage({ query }) {
  const days = query.days ?? "30";
  const tenant = query.tenant ?? "";
  const since = new Date(Date.now() - (Number(days) - 1) * DAY_S * 1000).toISOString().slice(0, 10);
  const { data, error, reload } = useResource(`v1/usage?since=${since}${tenant && `&tenant=${encodeURIComponent(tenant)}`}`);
  const tenants = useResource("v1/tenants?limit=1000");
  const ids = (tenants.data?.tenants ?? []).map(({ id }) => id);
  const known = [["", "all"], ...[...new Set([tenant, ...ids])].filter(Boolean).map((id) => [id, id])];
  const go = (changes) => navigate("tenants", "usage", { days, tenant, ...changes });
  return html`
    <div class="admin-filter">
      <${Field} label="Tenant"><${Select} options=${known} value=${tenant} onChange=${(id) => go({ tenant: id })} /></>
      <${Field} label="Period"><${Select} options=${PERIODS} value=${days} onChange=${(count) => go({ days: count })} /></>
    </div>
    ${error && html`<${LoadError} error=${error} onRetry=${reload} />`}
    ${data && html`<${UsageOf} usage=${data.usage} since=${since} />`}
  `;
}

function UsageOf({ usage, since }) {
  const columns = useMemo(() => byDay(usage, since), [usage, since]);
  if (!usage.length) return html`<${Empty} title="Nothing was used in this time">Jobs count on the day on which they end.</>`;
  const total = columns[1].reduce((sum, seconds) => sum + seconds, 0);
  const most = Math.max(...columns[1]);
  const label = `Device time by day: ${formatSeconds(total)} in all, ${formatSeconds(most)} at most in a day`;
  return html`
    <section class="card stack" aria-labelledby="device-time">
      <h2 id="device-time">Device time by day: ${formatSeconds(total)}</h2>
      <${Chart} data=${columns} series=${SERIES} axes=${AXES} scales=${SCALES} label=${label} />
    </section>
    <${Table} caption="Usage by day and tenant" columns=${COLUMNS} rows=${usage} keyOf=${(row) => `${row.day}/${row.tenant}`} />
  `;
}

const COLUMNS = [
  { key: "day", label: "Day (UTC)", isHeader: true },
  { key: "tenant", label: "Tenant" },
  { key: "jobs", label: "Jobs", align: "end", render: (row) => row.jobs.toLocaleString() },
  { key: "device_seconds", label: "Device time", align: "end", render: (row) => formatSeconds(row.device_seconds) },
  { key: "images", label: "Images", align: "end", render: (row) => row.images.toLocaleString() },
  { key: "image_bytes", label: "Image files", align: "end", render: (row) => formatBytes(row.image_bytes) },
];

/** Every day since `since` with the device seconds of all tenants, as uPlot takes them. */
function byDay(usage, since) {
  const first = Date.parse(since) / 1000;
  const count = Math.floor((Date.now() / 1000 - first) / DAY_S) + 1;
  const times = Array.from({ length: count }, (_, index) => first + index * DAY_S);
  const seconds = times.map(() => 0);
  for (const { day, device_seconds: used } of usage) {
    const index = Math.round((Date.parse(day) / 1000 - first) / DAY_S);
    if (index in seconds) seconds[index] += used;
  }
  return [times, seconds.map((used) => used || null)]; // a bar of nothing would be a line
}

function shortDay(time) {
  return new Date(time * 1000).toLocaleDateString(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
}
