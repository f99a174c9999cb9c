import { useState } from "preact/hooks";

import { request } from "../../api.js";
import { Field } from "../../components/field.js";
import { html } from "../../html.js";
import { CheckboxGroup, FormDialog } from "./form_dialog.js";

const EVENTS = [
  ["job.started", "job.started: a worker has begun it"],
  ["job.succeeded", "job.succeeded"],
  ["job.failed", "job.failed"],
  ["job.cancelled", "job.cancelled"],
];

/** Creates a webhook, or changes one; onSaved(answer): that of a new one has its secret. */
export function WebhookDialog({ webhook, onSaved, onClose }) {
  const [url, setUrl] = useState(webhook?.url ?? "");
  const [description, setDescription] = useState(webhook?.description ?? "");
  const [events, setEvents] = useState(webhook?.events ?? EVENTS.slice(1).map(([event]) => event));
  const save = async () => {
    const json = { url, description, events };
    const path = webhook ? `v1/webhooks/${webhook.id}` : "v1/webhooks";
    onSaved(await request(path, { method: webhook ? "PATCH" : "POST", json }));
  };
  return html`<${FormDialog}
    title=${webhook ? "Edit the webhook" : "New webhook"} label=${webhook ? "Save" : "Create"} save=${save}
    fields=${["url", "description", "events"]} onClose=${onClose}
  >
    ${(errors) => html`
      <${Field} label="Address" hint="https:// or http://, of a host with a public address" error=${errors.url}>
        <input type="url" value=${url} placeholder="https://example.com/hooks" spellcheck=${false} onInput=${(event) => setUrl(event.target.value)} />
      </>
      <${CheckboxGroup} label="Events" options=${EVENTS} values=${events} onChange=${setEvents} error=${errors.events} />
      <${Field} label="Description" hint="for people" error=${errors.description}>
        <input value=${description} maxlength="200" onInput=${(event) => setDescription(event.target.value)} />
      </>
    `}
  </>`;
}
