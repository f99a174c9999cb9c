import { useState } from "preact/hooks";

import { request } from "../../api.js";
import { confirm } from "../../components/dialog.js";
import { Empty, LoadError } from "../../components/empty.js";
import { Field, Select } from "../../components/field.js";
import { Page } from "../../components/page.js";
import { Status } from "../../components/status.js";
import { Table } from "../../components/table.js";
import { Tabs } from "./tabs.js";
import { Tag, Tags } from "../../components/tag.js";
import { notify } from "../../components/toast.js";
import { formatAgo, formatDate } from "../../format.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";
import { navigate } from "../../router.js";
import { session } from "../../session.js";
import { AuditLog } from "./audit.js";
import { CreateKeyDialog, RotateKeyDialog } from "./key_forms.js";
import { AuthOffNotice, SecretDialog } from "./notices.js";

const TABS = [["", "Keys"], ["audit", "Audit log"]];

/** API keys of a tenant, and the audit log. */
export function KeysView({ arg, query }) {
  const tabs = html`<${Tabs} view="keys" label="Parts of API keys" tabs=${TABS} current=${arg} />`;
  if (arg === "audit") return html`<${Page} title="Audit log">${tabs}<${AuditLog} /></>`;
  return html`<${Keys} tenant=${query.tenant ?? session.value.tenant} tabs=${tabs} />`;
}

function Keys({ tenant, tabs }) {
  const tenants = useResource("v1/tenants?limit=1000");
  const { data, error, reload } = useResource(`v1/tenants/${encodeURIComponent(tenant)}/keys`);
  const [dialog, setDialog] = useState(null);
  const names = (tenants.data?.tenants ?? [{ id: tenant, name: "" }]).map(({ id, name }) => [id, name ? `${id} – ${name}` : id]);
  const made = (key, text) => {
    reload();
    setDialog({ secret: key.key, text });
  };
  const actions = html`<button type="button" class="button button-primary" onClick=${() => setDialog({ create: true })}>New key</button>`;
  return html`<${Page} title="API keys" actions=${actions}>
    ${tabs}
    <${AuthOffNotice} />
    <div class="admin-filter">
      <${Field} label="Tenant"><${Select} options=${names} value=${tenant} onChange=${(id) => navigate("keys", "", { tenant: id })} /></>
    </div>
    ${error && html`<${LoadError} error=${error} onRetry=${reload} />`}
    ${data?.keys.length === 0 && html`<${Empty} title="This tenant has no keys">Make one, and give it to whoever is to use the fleet as this tenant.</>`}
    ${data?.keys.length > 0 && html`<${KeyTable} keys=${data.keys} onRotate=${(key) => setDialog({ rotate: key })} onChanged=${reload} />`}
    ${dialog?.create && html`<${CreateKeyDialog} tenant=${tenant} onMade=${made} onClose=${() => setDialog(null)} />`}
    ${dialog?.rotate && html`<${RotateKeyDialog} apiKey=${dialog.rotate} onMade=${made} onClose=${() => setDialog(null)} />`}
    ${dialog?.secret && html`<${SecretDialog} title="New API key" secret=${dialog.secret} text=${dialog.text} onClose=${() => setDialog(null)} />`}
  </>`;
}

function KeyTable({ keys, onRotate, onChanged }) {
  const columns = [
    { key: "id", label: "Id", isHeader: true, render: (key) => html`<code>${key.id}</code>` },
    { key: "name", label: "Name", render: (key) => key.name || html`<span class="muted">–</span>` },
    { key: "status", label: "Status", render: (key) => html`<${Status} ...${statusOf(key)} />` },
    { key: "scopes", label: "Scopes", render: (key) => html`<${Tags} label="Scopes of ${key.id}">${key.scopes.map((scope) => html`<${Tag} key=${scope} kind=${scope === "admin" ? "warn" : "muted"}>${scope}</>`)}</>` },
    { key: "created", label: "Created", render: (key) => formatDate(key.created_at) },
    { key: "expires", label: "Ends", render: (key) => (key.expires_at ? formatDate(key.expires_at) : "never") },
    { key: "used", label: "Last used", render: (key) => (key.last_used_at ? formatAgo(key.last_used_at) : "not yet") },
    { key: "actions", label: "Actions", align: "end", render: (key) => html`<${KeyActions} apiKey=${key} onRotate=${onRotate} onChanged=${onChanged} />` },
  ];
  return html`<${Table} caption="API keys" columns=${columns} rows=${keys} />`;
}

function KeyActions({ apiKey, onRotate, onChanged }) {
  if (hasEnded(apiKey)) return null;
  const { id, tenant, name } = apiKey;
  const revoke = async () => {
    const isOwn = id === session.value.key_id;
    const text = `Whoever uses it is refused at once.${isOwn ? " You are logged in with this key: you will be logged out." : ""}`;
    if (!(await confirm({ title: `Revoke key ${name || id}?`, text, label: "Revoke", isDangerous: true }))) return;
    try {
      await request(`v1/tenants/${tenant}/keys/${id}`, { method: "DELETE" });
      notify(`Key ${name || id} is revoked`, "ok");
    } catch (error) {
      notify(error.detail, "bad");
    }
    onChanged();
  };
  return html`<div class="row table-actions">
    <button type="button" class="button button-small" aria-label="Rotate ${id}" onClick=${() => onRotate(apiKey)}>Rotate</button>
    <button type="button" class="button button-small button-bad" aria-label="Revoke ${id}" onClick=${revoke}>Revoke</button>
  </div>`;
}

function hasEnded({ revoked_at: revoked, expires_at: expires }) {
  return Boolean(revoked) || (Boolean(expires) && new Date(expires) <= Date.now());
}

function statusOf(key) {
  if (key.revoked_at) return { status: "revoked", kind: "bad" };
  return hasEnded(key) ? { status: "expired", kind: "muted" } : { status: "active", kind: "ok" };
}
