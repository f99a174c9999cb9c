import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { Empty } from "../../components/empty.js";
import { formatSeconds, plural } from "../../format.js";
import { html } from "../../html.js";
import { Chart } from "./timeline_chart.js";
import { layOut, shortWorker, totals } from "./timeline_layout.js";
import { describe, formatDuration, formatTime } from "./timeline_text.js";

const ZOOMS = [1, 2, 4, 8, 16, 32];
const COLOURS = 12;

/** Where the time of a job went, as a Gantt chart, with a legend and the same as a table. */
export function Timeline({ timeline }) {
  const [zoom, setZoom] = useState(1);
  const shown = useSignal(null); // read by small components only: the chart is rendered once
  const lanes = useMemo(() => layOut(timeline), [timeline]);
  const names = useMemo(() => totals(timeline), [timeline]);
  const colourOf = useMemo(() => colours(names), [names]);
  const [box, width] = useWidth();
  if (!timeline.length) return html`<${Empty} title="No timeline yet">It is there when the job has ended.</>`;
  const step = (change) => setZoom(ZOOMS[Math.min(ZOOMS.length - 1, Math.max(0, ZOOMS.indexOf(zoom) + change))]);
  return html`<div class="timeline">
    <div class="timeline-bar">
      <${Shown} shown=${shown} colourOf=${colourOf} timeline=${timeline} />
      <div class="row" role="group" aria-label="Zoom">
        <button type="button" class="button button-small" disabled=${zoom === ZOOMS[0]} onClick=${() => step(-1)} aria-label="Zoom out">−</button>
        <button type="button" class="button button-small" disabled=${zoom === 1} onClick=${() => setZoom(1)}>Fit</button>
        <button type="button" class="button button-small" disabled=${zoom === ZOOMS.at(-1)} onClick=${() => step(1)} aria-label="Zoom in">+</button>
      </div>
    </div>
    <div ref=${box}>
      ${width > 0 && html`<${Chart} lanes=${lanes} colourOf=${colourOf} zoom=${zoom} width=${width} onShow=${(span) => (shown.value = span)} />`}
    </div>
    <${Legend} names=${names} colourOf=${colourOf} shown=${shown} />
    <${SpanTable} timeline=${timeline} />
  </div>`;
}

function Shown({ shown, colourOf, timeline }) {
  const span = shown.value;
  if (span === null) return html`<p class="timeline-shown">${hint(timeline)}</p>`;
  return html`<p class="timeline-shown">
    <span class="swatch ${colourOf(span.name)}"></span><strong>${span.name}</strong>${describe(span).slice(span.name.length)}
  </p>`;
}

function Legend({ names, colourOf, shown }) {
  return html`<ul class="timeline-legend" aria-label="Legend: time by kind">
    ${names.map(
      ({ name, seconds, count, forFirst }) => html`<li key=${name} class=${name === shown.value?.name ? "legend-shown" : ""}>
        <span class="swatch ${colourOf(name)}"></span>${name}
        <span class="muted">${formatSeconds(seconds)}${count > 1 ? ` in ${count}` : ""}${forFirst !== null && `, ${forFirst} for a step's first residual`}</span>
      </li>`,
    )}
  </ul>`;
}

function SpanTable({ timeline }) {
  const [isOpen, setOpen] = useState(false);
  return html`<details onToggle=${(event) => setOpen(event.target.open)}>
    <summary>The same as a table: ${plural(timeline.length, "span")}</summary>
    ${isOpen &&
    html`<div class="table-box timeline-table" tabindex="0" role="region" aria-label="Spans of the timeline">
      <table class="table">
        <caption class="visually-hidden">Spans of the timeline, by their start</caption>
        <thead>
          <tr>${["What", "Worker", "From", "To", "Time"].map((label, i) => html`<th scope="col" class=${i > 1 ? "cell-end" : ""}>${label}</th>`)}</tr>
        </thead>
        <tbody>
          ${[...timeline].sort((a, b) => a.start_s - b.start_s).map(
            (span) => html`<tr>
              <th scope="row" data-label="What">${span.name}</th>
              <td data-label="Worker">${shortWorker(span.worker)}</td>
              <td class="cell-end" data-label="From">${formatTime(span.start_s)}</td>
              <td class="cell-end" data-label="To">${formatTime(span.end_s)}</td>
              <td class="cell-end" data-label="Time">${formatDuration(span)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`}
  </details>`;
}

function hint(timeline) {
  const end = Math.max(...timeline.map((span) => span.end_s));
  return html`<span class="muted">${formatSeconds(end)} since the job was accepted. Point at a bar, or move with the arrow keys, for its times.</span>`;
}

// Waiting is grey; the other kinds have the colours in the order in which they appear.
function colours(names) {
  const busy = names.filter(({ name }) => !isIdle(name)).map(({ name }) => name);
  return (name) => (isIdle(name) ? "span-idle" : `span-${busy.indexOf(name) % COLOURS}`);
}

function isIdle(name) {
  return name === "queued" || name.startsWith("wait");
}

function useWidth() {
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!box.current) return undefined;
    let frame = 0;
    const observer = new ResizeObserver(([entry]) => {
      // In the next frame: a size that changes while sizes are told is an error of the page.
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => setWidth(Math.floor(entry.contentRect.width)));
    });
    observer.observe(box.current);
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
    };
  }, []);
  return [box, width];
}
