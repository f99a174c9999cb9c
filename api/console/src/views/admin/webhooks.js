import { useState } from "preact/hooks";

import { request } from "../../api.js";
import { confirm } from "../../components/dialog.js";
import { LoadError } from "../../components/empty.js";
import { Page } from "../../components/page.js";
import { Status } from "../../components/status.js";
import { Table } from "../../components/table.js";
import { Tag, Tags } from "../../components/tag.js";
import { notify } from "../../components/toast.js";
import { formatDate } from "../../format.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";
import { href } from "../../router.js";
import { Deliveries } from "./deliveries.js";
import { SecretDialog } from "./notices.js";
import { WebhookDialog } from "./webhook_form.js";

const SIGNS = "Its receiver verifies signatures with it.";
const ONCE = `${SIGNS} It is shown this once.`;

/** Where events of jobs are sent; with an id in the address, what became of each delivery to it. */
export function WebhooksView({ arg, query }) {
  return arg ? html`<${Deliveries} id=${arg} job=${query.job} key=${query.job} />` : html`<${Webhooks} />`;
}

function Webhooks() {
  const { data, error, reload } = useResource("v1/webhooks", { everyMs: 10_000 });
  const [edited, setEdited] = useState(null);
  const [secret, setSecret] = useState(null);
  const saved = (answer) => {
    setEdited(null);
    if (answer.secret) setSecret({ title: "Secret of the new webhook", secret: answer.secret, text: ONCE });
    reload();
  };
  const rotate = async ({ id, url }) => {
    const text = "A new secret is made. For a day both sign, so that the receiver can be changed meanwhile.";
    if (!(await confirm({ title: "Rotate the secret?", text, label: "Rotate" }))) return;
    await tried(async () => {
      const answer = await request(`v1/webhooks/${id}/rotate`, { method: "POST" });
      setSecret({ title: `New secret of ${url ?? "jobs' own webhooks"}`, secret: answer.secret, text: `${ONCE} The old one signs until ${formatDate(answer.previous_expires_at)}, too.` });
    });
  };
  const showDefault = () =>
    tried(async () => {
      const answer = await request("v1/webhooks/default/secret");
      setSecret({ title: "Secret of jobs' own webhooks", secret: answer.secret, text: SIGNS });
    });
  const actions = html`<button type="button" class="button button-primary" onClick=${() => setEdited({})}>New webhook</button>`;
  return html`<${Page} title="Webhooks" actions=${actions}>
    <p class="muted">Events of all jobs of this tenant are sent to these addresses, signed as Standard Webhooks are.</p>
    ${error && html`<${LoadError} error=${error} onRetry=${reload} />`}
    ${data && html`<${WebhookTable} webhooks=${data.webhooks} onEdit=${setEdited} onRotate=${rotate} onChanged=${reload} />`}
    <section class="card stack" aria-labelledby="own">
      <h2 id="own">Webhooks of single jobs</h2>
      <p>A job that is submitted with a <code>webhook</code> of its own has its events sent there, signed with one secret for all of them.</p>
      <div class="row">
        <button type="button" class="button button-small" onClick=${showDefault}>Show the secret</button>
        <button type="button" class="button button-small" onClick=${() => rotate({ id: "default" })}>Rotate the secret</button>
        <a class="button button-small" href=${href("webhooks", "default")}>Deliveries</a>
      </div>
    </section>
    ${edited && html`<${WebhookDialog} webhook=${edited.id ? edited : null} onSaved=${saved} onClose=${() => setEdited(null)} />`}
    ${secret && html`<${SecretDialog} ...${secret} onClose=${() => setSecret(null)} />`}
  </>`;
}

function WebhookTable({ webhooks, onEdit, onRotate, onChanged }) {
  const columns = [
    { key: "url", label: "Address", isHeader: true, render: ({ url, description }) => html`<span class="breakable">${url}</span>${description && html`<br /><span class="muted">${description}</span>`}` },
    { key: "events", label: "Events", render: ({ id, events }) => html`<${Tags} label="Events of ${id}">${events.map((event) => html`<${Tag} key=${event}>${event.replace("job.", "")}</>`)}</>` },
    { key: "status", label: "Status", render: (webhook) => html`<${Status} ...${statusOf(webhook)} />` },
    { key: "created", label: "Created", render: ({ created_at: at }) => formatDate(at) },
    { key: "actions", label: "Actions", align: "end", render: (webhook) => html`<${Actions} webhook=${webhook} onEdit=${onEdit} onRotate=${onRotate} onChanged=${onChanged} />` },
  ];
  const empty = html`<p class="card muted">No webhook yet: make one, and your own service is told when jobs start and end.</p>`;
  return html`<${Table} caption="Webhooks" columns=${columns} rows=${webhooks} empty=${empty} />`;
}

function Actions({ webhook, onEdit, onRotate, onChanged }) {
  const { id, url, enabled } = webhook;
  const toggle = () => tried(() => request(`v1/webhooks/${id}`, { method: "PATCH", json: { enabled: !enabled } })).then(onChanged);
  const remove = async () => {
    const text = "Nothing more is sent to it, and its list of deliveries is gone.";
    if (!(await confirm({ title: `Delete the webhook to ${url}?`, text, label: "Delete", isDangerous: true }))) return;
    await tried(() => request(`v1/webhooks/${id}`, { method: "DELETE" }));
    onChanged();
  };
  const button = (label, onClick, kind = "") => html`<button type="button" class="button button-small ${kind}" aria-label="${label} ${url}" onClick=${onClick}>${label}</button>`;
  return html`<div class="row table-actions">
    <a class="button button-small" href=${href("webhooks", id)} aria-label="Deliveries to ${url}">Deliveries</a>
    ${button(enabled ? "Disable" : "Enable", toggle)}
    ${button("Edit", () => onEdit(webhook))}
    ${button("Rotate", () => onRotate(webhook))}
    ${button("Delete", remove, "button-bad")}
  </div>`;
}

function statusOf({ enabled, disabled_reason: reason }) {
  if (enabled) return { status: "enabled", kind: "ok" };
  return reason === "gone" ? { status: "disabled: it answered 410", kind: "bad" } : { status: "disabled", kind: "muted" };
}

async function tried(act) {
  try {
    await act();
  } catch (error) {
    notify(error.detail, "bad");
  }
}
