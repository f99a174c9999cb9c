import { useState } from "preact/hooks";

import { request } from "../../api.js";
import { Field, Select } from "../../components/field.js";
import { formatDate } from "../../format.js";
import { html } from "../../html.js";
import { CheckboxGroup, FormDialog } from "./form_dialog.js";

const SCOPES = [
  ["jobs", "jobs: submit and read jobs"],
  ["loras", "loras: read, upload and delete LoRAs"],
  ["fleet", "fleet: see workers and queues"],
  ["metrics", "metrics: read /metrics"],
  ["admin", "admin: everything, also tenants and keys"],
];
const DAYS = [["", "never"], ["1", "in a day"], ["30", "in 30 days"], ["90", "in 90 days"], ["365", "in a year"]];
const OVERLAPS = [["0", "at once"], ["3600", "in an hour"], ["86400", "in a day"], ["604800", "in a week"]];

/** Makes a key; onMade(key, text) gets the answer, which has the secret. */
export function CreateKeyDialog({ tenant, onMade, onClose }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState(["jobs", "loras"]);
  const [days, setDays] = useState("");
  const save = async () => {
    const expires = days && new Date(Date.now() + Number(days) * 86_400_000).toISOString();
    const key = await request(`v1/tenants/${encodeURIComponent(tenant)}/keys`, {
      method: "POST",
      json: { name, scopes, ...(expires && { expires_at: expires }) },
    });
    onMade(key, `A key of the tenant ${tenant}. It is shown this once: only its hash is stored.`);
  };
  return html`<${FormDialog} title="New key of ${tenant}" label="Make the key" save=${save} fields=${["name", "scopes", "expires_at"]} onClose=${onClose}>
    ${(errors) => html`
      <${Field} label="Name" hint="for people: who or what uses it" error=${errors.name}>
        <input value=${name} maxlength="200" onInput=${(event) => setName(event.target.value)} />
      </>
      <${CheckboxGroup} label="Scopes" options=${SCOPES} values=${scopes} onChange=${setScopes} error=${errors.scopes} />
      <${Field} label="Ends" error=${errors.expires_at}><${Select} options=${DAYS} value=${days} onChange=${setDays} /></>
    `}
  </>`;
}

/** Makes the successor of a key. */
export function RotateKeyDialog({ apiKey, onMade, onClose }) {
  const [overlap, setOverlap] = useState("3600");
  const save = async () => {
    const path = `v1/tenants/${encodeURIComponent(apiKey.tenant)}/keys/${apiKey.id}/rotate`;
    const made = await request(path, { method: "POST", json: { overlap_s: Number(overlap) } });
    const ends = formatDate(new Date(Date.now() + Number(overlap) * 1000).toISOString());
    onMade(made, `It takes the place of ${apiKey.name || apiKey.id}, which works until ${ends}. It is shown this once.`);
  };
  return html`<${FormDialog} title="Rotate key ${apiKey.name || apiKey.id}" label="Make its successor" save=${save} fields=${["overlap_s"]} onClose=${onClose}>
    ${(errors) => html`
      <p>A new key with the same name, scopes and end is made. Put it wherever the old one is used before that ends.</p>
      <${Field} label="The old key ends" error=${errors.overlap_s}><${Select} options=${OVERLAPS} value=${overlap} onChange=${setOverlap} /></>
    `}
  </>`;
}
