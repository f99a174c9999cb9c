import { useState } from "preact/hooks";

import { request } from "../../api.js";
import { Field } from "../../components/field.js";
import { html } from "../../html.js";
import { CheckboxGroup, FormDialog } from "./form_dialog.js";

const PRIORITIES = [
  ["interactive", "interactive"],
  ["normal", "normal"],
  ["batch", "batch"],
];
const LIMITS = [
  ["requests_per_s", "Requests per second"],
  ["max_waiting_jobs", "Jobs that wait"],
  ["max_running_jobs", "Jobs that run"],
  ["pixel_steps_per_day", "Pixels × steps × images a day"],
  ["lora_bytes", "Bytes of own LoRAs"],
];
const FIELDS = ["id", "name", "weight", "priorities", ...LIMITS.map(([field]) => `limits.${field}`)];

/** Creates a tenant, or changes one; `tenant` is null for a new one. */
export function TenantDialog({ tenant, onSaved, onClose }) {
  const [id, setId] = useState("");
  const [name, setName] = useState(tenant?.name ?? "");
  const [weight, setWeight] = useState(String(tenant?.weight ?? 1));
  const [priorities, setPriorities] = useState(tenant?.priorities ?? PRIORITIES.map(([one]) => one));
  const [limits, setLimits] = useState(() => Object.fromEntries(LIMITS.map(([field]) => [field, String(tenant?.limits[field] ?? "")])));
  const save = async () => {
    const numbers = Object.fromEntries(LIMITS.map(([field]) => [field, number(limits[field])]));
    const json = { name, weight: number(weight), priorities, limits: numbers };
    if (tenant) await request(`v1/tenants/${tenant.id}`, { method: "PATCH", json });
    else await request("v1/tenants", { method: "POST", json: { id, ...json } });
    onSaved();
  };
  return html`<${FormDialog} title=${tenant ? `Tenant ${tenant.id}` : "New tenant"} label=${tenant ? "Save" : "Create"} save=${save} fields=${FIELDS} onClose=${onClose}>
    ${(errors) => html`
      ${!tenant &&
      html`<${Field} label="Id" hint="small letters, digits and hyphens; it is given once and never changes" error=${errors.id}>
        <input value=${id} maxlength="32" autocapitalize="none" spellcheck=${false} onInput=${(event) => setId(event.target.value)} />
      </>`}
      <${Field} label="Name" hint="for people" error=${errors.name}>
        <input value=${name} maxlength="200" onInput=${(event) => setName(event.target.value)} />
      </>
      <${Field} label="Weight" hint="its share of the devices next to other tenants' weights" error=${errors.weight}>
        <input type="number" min="0" step="any" value=${weight} onInput=${(event) => setWeight(event.target.value)} />
      </>
      <${CheckboxGroup} label="Priorities that its jobs may ask for" options=${PRIORITIES} values=${priorities} onChange=${setPriorities} error=${errors.priorities} />
      <fieldset class="stack">
        <legend class="field-label">Limits; empty: none</legend>
        <div class="limits">
          ${LIMITS.map(
            ([field, label]) => html`<${Field} key=${field} label=${label} error=${errors[`limits.${field}`]}>
              <input type="number" min="0" step="1" value=${limits[field]} onInput=${(event) => setLimits({ ...limits, [field]: event.target.value })} />
            </>`,
          )}
        </div>
      </fieldset>
    `}
  </>`;
}

/** A number as the API takes it; empty: null, which takes a limit away. */
function number(text) {
  return text === "" ? null : Number(text);
}
