/**
 * The lanes of a timeline, for a Gantt chart: [{name, isFirst, rows: [[span, …], …]}]. A lane is a worker; what it
 * computes of ControlNets, loads of LoRAs, and its waits have lanes of their own, as they overlap with the rest.
 * Spans of a row do not overlap. Workers stand as they began; the first lane of each names it.
 */
export function layOut(timeline) {
  const spans = [...timeline].sort((a, b) => a.start_s - b.start_s);
  const lanes = new Map();
  for (const worker of new Set(spans.map((span) => span.worker))) {
    const own = spans.filter((span) => span.worker === worker);
    for (const part of [...new Set(own.map(partOf))].sort((a, b) => order(a) - order(b))) {
      const inLane = own.filter((span) => partOf(span) === part);
      const isFirst = ![...lanes.keys()].some((key) => key.startsWith(`${worker}/`));
      lanes.set(`${worker}/${part}`, { name: laneName(shortWorker(worker), part, isFirst), isFirst, rows: inRows(inLane) });
    }
  }
  return [...lanes.values()];
}

/**
 * The names of spans in the order in which they appear, with the time that each took in all, and of waits for residuals
 * how many were for the one that a step needs first.
 */
export function totals(timeline) {
  const found = new Map();
  for (const span of [...timeline].sort((a, b) => a.start_s - b.start_s)) {
    const total = found.get(span.name) ?? { name: span.name, seconds: 0, count: 0, forFirst: null };
    total.seconds += span.end_s - span.start_s;
    total.count += 1;
    if (span.residual != null) total.forFirst = (total.forFirst ?? 0) + (span.residual === 0);
    found.set(span.name, total);
  }
  return [...found.values()];
}

/** Round times up to `end`, at most `most` of them: [0, 0.5, 1, …]. */
export function ticks(end, most) {
  if (!(end > 0)) return [0];
  const rough = end / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  return Array.from({ length: Math.floor(end / step + 1e-9) + 1 }, (_, i) => i * step);
}

/** A worker without its host: "unet1@host" is "unet1". */
export function shortWorker(worker) {
  return worker.replace(/@\S*/, "");
}

function laneName(worker, part, isFirst) {
  if (!isFirst) return part;
  return part ? `${worker} · ${part.replace(/^(controlnet|lora) /, "")}` : worker;
}

function partOf({ name }) {
  if (name.startsWith("wait")) return "waits";
  if (name.startsWith("controlnet ")) return name;
  // "lora anime from s3", "lora anime parse", "lora anime prepare": names of LoRAs may have spaces.
  return name.match(/^(lora .*?)(?: from \w+| parse| prepare)$/)?.[1] ?? (name.startsWith("lora ") ? name : "");
}

function order(part) {
  return part === "" ? 0 : part === "waits" ? 1 : part.startsWith("controlnet ") ? 2 : 3;
}

function inRows(spans) {
  const rows = [];
  for (const span of spans) {
    const row = rows.find((one) => one.at(-1).end_s <= span.start_s);
    if (row) row.push(span);
    else rows.push([span]);
  }
  return rows;
}
