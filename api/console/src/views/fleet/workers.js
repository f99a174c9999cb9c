import { Status } from "../../components/status.js";
import { Tag, Tags } from "../../components/tag.js";
import { formatBytes, formatSeconds } from "../../format.js";
import { html } from "../../html.js";
import { href } from "../../router.js";
import { ActivityShares, ACTIVITIES } from "./activity.js";
import { heldLoras } from "./held_loras.js";

/** The share of the last minute in which devices of these workers were busy. */
export function busyShare(workers) {
  return workers.length ? workers.reduce((sum, worker) => sum + worker.utilization, 0) / workers.length : 0;
}

/** Whether a worker that is alive takes no work. */
export function isUnavailable(worker) {
  return worker.unavailable_reasons.length > 0;
}

/** A card for each live worker. */
export function Workers({ fleet }) {
  return html`<section class="stack" aria-labelledby="workers">
    <h2 id="workers">Workers</h2>
    <ul class="workers">
      ${fleet.workers.map((worker) => html`<li key=${worker.name}><${WorkerCard} worker=${worker} fleet=${fleet} /></li>`)}
    </ul>
  </section>`;
}

function WorkerCard({ worker, fleet }) {
  const [text, kind] = isUnavailable(worker) ? ["takes no work", "bad"] : (ACTIVITIES[worker.activity]?.now ?? ["alive", "muted"]);
  return html`<article class="card worker" aria-labelledby="worker-${worker.name}">
    <header class="worker-header">
      <h3 id="worker-${worker.name}">${worker.name}</h3>
      <${Status} status=${text} kind=${kind} />
    </header>
    <p class="muted">
      ${worker.kind === "unet" ? "UNet worker" : "ControlNet worker"} on ${worker.host} · ${worker.gpu ?? worker.device} · up
      ${" "}${formatSeconds(Math.max(0, Date.now() / 1000 - worker.started_at))} · version ${worker.version}
    </p>
    <${ActivityShares} worker=${worker} />
    <${Problems} worker=${worker} />
    <dl class="worker-facts">
      <${Jobs} worker=${worker} />
      <${Weights} name="Models" serves=${worker.kind === "unet" ? worker.serves : []} loaded=${worker.kind === "unet" ? worker.loaded : []} />
      <${Weights}
        name="ControlNets" serves=${worker.kind === "unet" ? worker.served_controlnets : worker.serves}
        loaded=${worker.kind === "unet" ? worker.loaded_controlnets : worker.loaded}
      />
      <${Loras} worker=${worker} fleet=${fleet} />
      <${Memory} worker=${worker} />
      <${Residuals} worker=${worker} />
    </dl>
  </article>`;
}

function Problems({ worker }) {
  const errors = { ...worker.load_errors, ...worker.controlnet_load_errors };
  const found = [
    ...worker.unavailable_reasons.map((text) => ["bad", text]),
    ...Object.entries(errors).map(([name, why]) => ["bad", `could not load ${name}: ${why}`]),
    ...worker.warnings.map((text) => ["warn", text]),
  ];
  if (!found.length) return null;
  return html`<ul class="worker-problems">${found.map(([kind, text]) => html`<li key=${text} class="problem-${kind}">${text}</li>`)}</ul>`;
}

function Fact({ name, children }) {
  return html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
}

function Jobs({ worker }) {
  const attached = Object.entries(worker.attached_jobs).flatMap(([part, jobs]) => jobs.map((job) => [job, part]));
  const link = (job) => html`<a class="mono" href=${href("job", job)}>${job}</a>`;
  return html`
    ${worker.kind === "unet" &&
    html`<${Fact} name="Job">${worker.jobs.length ? worker.jobs.map((job) => html`<div key=${job}>${link(job)}</div>`) : html`<span class="muted">none</span>`}</>`}
    ${(attached.length > 0 || worker.kind === "controlnet") &&
    html`<${Fact} name="Attached to">
      ${attached.length
        ? attached.map(([job, part]) => html`<div key=${`${job}/${part}`}>${link(job)} <span class="muted">computes ${part}</span></div>`)
        : html`<span class="muted">no job</span>`}
    </>`}
  `;
}

function Weights({ name, serves, loaded }) {
  if (!serves.length) return null;
  return html`<${Fact} name=${name}>
    <${Tags} label=${name}>
      ${serves.map((one) =>
        loaded.includes(one)
          ? html`<${Tag} key=${one} kind="ok" title="its weights are in memory">${one} loaded</>`
          : html`<${Tag} key=${one} title="loaded when a job needs it">${one}</>`,
      )}
    </>
  </>`;
}

function Loras({ worker, fleet }) {
  if (worker.kind !== "unet") return null;
  const { patched, memory } = heldLoras(fleet, worker.name);
  return html`<${Fact} name="LoRAs">
    <${Tags} label="LoRAs">
      ${patched.map((name) => html`<${Tag} key=${`p${name}`} kind="accent" title="in the weights of its model">${name} in weights</>`)}
      ${memory.filter((name) => !patched.includes(name)).map((name) => html`<${Tag} key=${`m${name}`} title="parsed and in memory">${name} in memory</>`)}
    </>
  </>`;
}

function Memory({ worker }) {
  const { device_total_bytes: total, device_free_bytes: free } = worker;
  if (!total) return null;
  return html`<${Fact} name="GPU memory">
    <meter min="0" max=${total} value=${total - (free ?? 0)} aria-label="GPU memory in use"></meter>
    ${" "}${formatBytes(total - (free ?? 0))} of ${formatBytes(total)} used${free === null ? "" : `, ${formatBytes(free)} free`}
  </>`;
}

function Residuals({ worker }) {
  const found = Object.entries(worker.received_residuals).flatMap(([from, by]) => Object.entries(by).map(([how, count]) => [from, how, count]));
  if (!found.length) return null;
  return html`<${Fact} name="Residuals">
    ${found.map(([from, how, count]) => html`<div key=${from + how}>${count} from ${from} <span class="muted">${how.replaceAll("_", " ")}</span></div>`)}
  </>`;
}
