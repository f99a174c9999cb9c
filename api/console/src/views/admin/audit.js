import { useEffect, useState } from "preact/hooks";

import { request } from "../../api.js";
import { Empty, LoadError } from "../../components/empty.js";
import { Status } from "../../components/status.js";
import { Table } from "../../components/table.js";
import { formatDate } from "../../format.js";
import { html } from "../../html.js";

/** What admins have done, the last first. */
export function AuditLog() {
  const [acts, setActs] = useState(null);
  const [cursor, setCursor] = useState("");
  const [error, setError] = useState(null);
  const read = async (after, before) => {
    try {
      const page = await request(`v1/audit?limit=100${after && `&cursor=${after}`}`);
      setActs([...before, ...page.acts]);
      setCursor(page.next_cursor);
      setError(null);
    } catch (refused) {
      setError(refused);
    }
  };
  useEffect(() => void read("", []), []);
  if (error && !acts) return html`<${LoadError} error=${error} onRetry=${() => read("", [])} />`;
  if (!acts) return html`<p class="muted">Reading the log …</p>`;
  const empty = html`<${Empty} title="Nothing yet">Changes of tenants, keys and public LoRAs, and logins of admins, appear here.</>`;
  return html`
    <${Table} caption="What admins have done" columns=${COLUMNS} rows=${acts} empty=${empty} />
    ${cursor && html`<div><button type="button" class="button" onClick=${() => read(cursor, acts)}>Older acts</button></div>`}
  `;
}

const COLUMNS = [
  { key: "at", label: "When", render: (act) => formatDate(new Date(act.at * 1000).toISOString()) },
  { key: "operation", label: "What", isHeader: true, render: (act) => act.operation.replaceAll("_", " ") },
  { key: "target", label: "On", render: (act) => html`<code class="breakable">${act.target}</code>` },
  { key: "changes", label: "With", render: ({ changes }) => (Object.keys(changes).length ? html`<code class="breakable">${describe(changes)}</code>` : html`<span class="muted">–</span>`) },
  { key: "who", label: "By", render: (act) => html`${act.tenant} <span class="muted">${act.key_id ?? "without a key"} from ${act.client}</span>` },
  { key: "status", label: "Answer", render: (act) => html`<${Status} status=${act.status} kind=${act.status < 400 ? "ok" : "bad"} />` },
];

function describe(changes) {
  return Object.entries(changes).map(([field, value]) => `${field} ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
}
