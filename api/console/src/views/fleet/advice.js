import { Status } from "../../components/status.js";
import { html } from "../../html.js";

const KINDS = {
  model_short_of_devices: ["short of devices", "warn"],
  controlnet_short_of_devices: ["short of devices", "warn"],
  idle_device: ["idle", "muted"],
};

/** What an operator may change, most urgent first: what nobody serves, what is short of devices, what was idle. */
export function AdviceList({ fleet }) {
  const { models, controlnets } = fleet.without_workers;
  const nobody = fleet.workers.length
    ? [
        ...models.map((name) => ["no worker", "bad", `no worker takes jobs for model '${name}': they stay queued`]),
        ...controlnets.map((name) => ["no worker", "bad", `no worker may load ControlNet '${name}': its jobs fail`]),
      ]
    : []; // the view says so already
  const advice = fleet.advice.map(({ kind, sentence }) => [...(KINDS[kind] ?? ["advice", "muted"]), sentence]);
  const all = [...nobody, ...advice];
  if (!all.length) return null;
  return html`<section class="card stack" aria-labelledby="advice">
    <h2 id="advice">Advice</h2>
    <ul class="advice">
      ${all.map(
        ([status, kind, sentence]) => html`<li key=${sentence}><${Status} status=${status} kind=${kind} /><span>${capital(sentence)}.</span></li>`,
      )}
    </ul>
  </section>`;
}

function capital(sentence) {
  return sentence[0].toUpperCase() + sentence.slice(1);
}
