import { Table } from "../../components/table.js";
import { Tag, Tags } from "../../components/tag.js";
import { html } from "../../html.js";

/** What waits, by model and by ControlNet, and who serves it. */
export function Queues({ fleet, models, controlnets }) {
  const { queues, queued_steps: steps } = fleet;
  const names = Object.keys(queues).filter((name) => name.startsWith("unet.")).map((name) => name.slice(5));
  const known = Object.fromEntries([...models, ...controlnets].map((entry) => [entry.name, entry]));
  const serving = { key: "workers", label: "Workers", render: ({ name }) => html`<${Serving} entry=${known[name]} />` };
  const byModel = [
    { key: "name", label: "Model", isHeader: true },
    { key: "jobs", label: "Waiting jobs", align: "end", render: ({ name }) => queues[`unet.${name}`] },
    { key: "follow", label: "Waiting for a second worker", align: "end", render: ({ name }) => queues[`follow.${name}`] ?? 0 },
    { key: "encode", label: "Prompts to encode", align: "end", render: ({ name }) => queues[`encode.${name}`] ?? 0 },
    serving,
  ];
  const byControlNet = [
    { key: "name", label: "ControlNet", isHeader: true },
    { key: "steps", label: "Waiting steps", align: "end", render: ({ name }) => (steps ? steps[name] : "unknown") },
    { key: "attach", label: "Jobs to attach", align: "end", render: ({ name }) => queues[`controlnet.${name}`] ?? 0 },
    serving,
  ];
  const attached = Object.keys(queues).filter((name) => name.startsWith("controlnet.")).map((name) => ({ name: name.slice(11) }));
  return html`
    <section class="stack" aria-labelledby="models">
      <h2 id="models">Queues by model</h2>
      <${Table} caption="Queues by model" columns=${byModel} rows=${names.map((name) => ({ name }))} keyOf=${(row) => row.name} />
    </section>
    ${attached.length > 0 &&
    html`<section class="stack" aria-labelledby="controlnets">
      <h2 id="controlnets">Queues by ControlNet</h2>
      ${steps === null && html`<p class="notice notice-warn">The residual Redis does not answer: nobody knows how many steps wait.</p>`}
      <${Table} caption="Queues by ControlNet" columns=${byControlNet} rows=${attached} keyOf=${(row) => row.name} />
    </section>`}
  `;
}

function Serving({ entry }) {
  if (!entry) return html`<span class="muted">–</span>`;
  const errors = Object.keys(entry.load_errors);
  return html`<${Tags} label="Workers of ${entry.name}" none="no worker serves it">
    ${entry.workers.map((worker) =>
      entry.loaded.includes(worker)
        ? html`<${Tag} key=${worker} kind="ok" title="its weights are in memory">${worker} loaded</>`
        : html`<${Tag} key=${worker}>${worker}</>`,
    )}
    ${errors.map((worker) => html`<${Tag} key=${worker} kind="bad" title=${entry.load_errors[worker]}>${worker} could not load it</>`)}
  </>`;
}
