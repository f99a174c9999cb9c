import { useState } from "preact/hooks";

import { request } from "../../api.js";
import { confirm } from "../../components/dialog.js";
import { LoadError } from "../../components/empty.js";
import { Page } from "../../components/page.js";
import { Table } from "../../components/table.js";
import { Tabs } from "./tabs.js";
import { Tag, Tags } from "../../components/tag.js";
import { notify } from "../../components/toast.js";
import { formatBytes } from "../../format.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";
import { href } from "../../router.js";
import { AuthOffNotice } from "./notices.js";
import { TenantDialog } from "./tenant_form.js";
import { Usage } from "./usage.js";

const TABS = [["", "Tenants"], ["usage", "Usage"]];
/** Limits as a list names them. */
const LIMITS = {
  requests_per_s: (value) => `${value} requests/s`,
  max_waiting_jobs: (value) => `${value.toLocaleString()} jobs waiting`,
  max_running_jobs: (value) => `${value.toLocaleString()} running`,
  pixel_steps_per_day: (value) => `${value.toLocaleString()} pixel steps/day`,
  lora_bytes: (value) => `${formatBytes(value)} of LoRAs`,
};

/** Tenants with their limits, and what they have used. */
export function TenantsView({ arg, query }) {
  const tabs = html`<${Tabs} view="tenants" label="Parts of tenants" tabs=${TABS} current=${arg} />`;
  if (arg === "usage") return html`<${Page} title="Usage">${tabs}<${Usage} query=${query} /></>`;
  return html`<${Tenants} tabs=${tabs} />`;
}

function Tenants({ tabs }) {
  const { data, error, reload } = useResource("v1/tenants?limit=1000");
  const [edited, setEdited] = useState(null);
  const saved = () => {
    setEdited(null);
    reload();
  };
  const actions = html`<button type="button" class="button button-primary" onClick=${() => setEdited({})}>New tenant</button>`;
  return html`<${Page} title="Tenants" actions=${actions}>
    ${tabs}
    <${AuthOffNotice} />
    ${error && html`<${LoadError} error=${error} onRetry=${reload} />`}
    ${data && html`<${TenantTable} tenants=${data.tenants} onEdit=${setEdited} onChanged=${reload} />`}
    ${edited && html`<${TenantDialog} tenant=${edited.id ? edited : null} onSaved=${saved} onClose=${() => setEdited(null)} />`}
  </>`;
}

function TenantTable({ tenants, onEdit, onChanged }) {
  const columns = [
    { key: "id", label: "Tenant", isHeader: true, render: ({ id, name }) => html`<strong>${id}</strong>${name && html`<br /><span class="muted">${name}</span>`}` },
    { key: "weight", label: "Weight", align: "end" },
    { key: "priorities", label: "Priorities", render: ({ priorities }) => priorities.join(", ") },
    { key: "limits", label: "Limits", render: ({ id, limits }) => html`<${Tags} label="Limits of ${id}">${limitTags(limits)}</>` },
    { key: "actions", label: "Actions", align: "end", render: (tenant) => html`<${TenantActions} tenant=${tenant} onEdit=${onEdit} onChanged=${onChanged} />` },
  ];
  return html`<${Table} caption="Tenants" columns=${columns} rows=${tenants} />`;
}

function limitTags(limits) {
  const set = Object.entries(limits).filter(([, value]) => value !== null);
  return set.map(([name, value]) => html`<${Tag} key=${name}>${LIMITS[name]?.(value) ?? `${name} ${value}`}</>`);
}

function TenantActions({ tenant, onEdit, onChanged }) {
  const { id } = tenant;
  const remove = async () => {
    const text = "Its keys end at once. Its jobs are cancelled, and deleted with its images and LoRAs. The id is never given again.";
    if (!(await confirm({ title: `Delete tenant ${id}?`, text, label: "Delete", isDangerous: true }))) return;
    try {
      await request(`v1/tenants/${id}`, { method: "DELETE" });
      notify(`Tenant ${id} is deleted`, "ok");
    } catch (error) {
      notify(error.detail, "bad");
    }
    onChanged();
  };
  const isLocal = id === "local"; // always exists, and has no limits
  return html`<div class="row table-actions">
    <a class="button button-small" href=${href("keys", "", { tenant: id })} aria-label="Keys of ${id}">Keys</a>
    <a class="button button-small" href=${href("tenants", "usage", { tenant: id })} aria-label="Usage of ${id}">Usage</a>
    ${!isLocal &&
    html`<button type="button" class="button button-small" aria-label="Edit ${id}" onClick=${() => onEdit(tenant)}>Edit</button>
      <button type="button" class="button button-small button-bad" aria-label="Delete ${id}" onClick=${remove}>Delete</button>`}
  </div>`;
}
