import { formatDate, formatSeconds } from "../../format.js";
import { html } from "../../html.js";
import { href } from "../../router.js";
import { useResource } from "../../resource.js";

/** What a job is and when it was what, as a list of names and values. */
export function Facts({ job }) {
  const { request } = job;
  const seeds = request.seeds ?? Array.from({ length: request.num_images }, (_, i) => request.seed + i);
  const rows = [
    ["Model", request.model],
    ["Size", request.width ? `${request.width} × ${request.height}` : "the model's own"],
    ["Steps", `${steps(request)}, ${request.scheduler}`],
    ["Guidance scale", request.guidance_scale],
    [seeds.length > 1 ? "Seeds" : "Seed", seeds.join(", ")],
    ["ControlNets", request.controlnets.map(({ name, conditioning_scale }) => `${name} × ${conditioning_scale}`).join(", ")],
    ["LoRAs", request.loras.map(({ name, scale }) => `${name} × ${typeof scale === "number" ? scale : JSON.stringify(scale)}`).join(", ")],
    ["File format", request.output_format + (request.output_quality ? `, quality ${request.output_quality}` : "")],
    ["Priority", job.priority],
    ["Deadline", job.deadline_s === null ? "" : formatSeconds(job.deadline_s)],
    ["Submitted", formatDate(job.created_at)],
    ["Waited", between(job.created_at, job.started_at)],
    ["Took", between(job.started_at, job.finished_at)],
  ];
  return html`<dl class="facts">
    ${rows.filter(([, value]) => value !== "" && value !== null && value !== undefined).map(
      ([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`,
    )}
    ${job.has_webhook && html`<${Deliveries} job=${job} />`}
  </dl>`;
}

function Deliveries({ job }) {
  const { data } = useResource(`v1/webhooks/default/deliveries?job=${job.id}`);
  if (!data?.deliveries.length) return null;
  return html`<div>
    <dt>Webhook</dt>
    <dd><a href=${href("webhooks", "default", { job: job.id })}>${data.deliveries.map(({ event, status }) => `${event} ${status}`).join(", ")}</a></dd>
  </div>`;
}

function steps({ timesteps, sigmas, num_inference_steps }) {
  return timesteps?.length ?? (sigmas ? sigmas.length - 1 : num_inference_steps);
}

function between(from, to) {
  return from && to ? formatSeconds((Date.parse(to) - Date.parse(from)) / 1000) : "";
}
