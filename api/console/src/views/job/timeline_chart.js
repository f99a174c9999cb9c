import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { html } from "../../html.js";
import { ticks } from "./timeline_layout.js";
import { describe } from "./timeline_text.js";

const ROW_PX = 20;
const BAR_PX = 16;
const LANE_GAP_PX = 8;
const AXIS_PX = 24;
const TICK_PX = 72;
const LEAST_BAR_PX = 1.5;
/** Space at the right, so that the last bar and the last time are whole. */
const END_PX = 28;
const BORDERS_PX = 2;
const LEAST_PX = 96;

/** The chart itself: names of lanes at the left, bars in a box that scrolls sideways. One bar is in the tab order. */
export function Chart({ lanes, colourOf, zoom, width, onShow }) {
  const labelPx = Math.min(180, Math.max(112, Math.round(width * 0.2)));
  const chartPx = Math.max(LEAST_PX, width - labelPx - BORDERS_PX) * zoom;
  const bars = placed(lanes);
  const end = Math.max(...bars.map(({ span }) => span.end_s), 1e-3);
  const x = (seconds) => (seconds / end) * (chartPx - END_PX);
  const height = bars.at(-1).y + ROW_PX + LANE_GAP_PX / 2;
  const [current, setCurrent] = useState(0);
  const svg = useRef(null);
  const box = useKeptCentre(chartPx);

  const onKeyDown = (event) => {
    const next = neighbour(bars, current, event.key);
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation(); // the arrows of the page turn images over
    setCurrent(next);
    svg.current.querySelector(`[data-bar="${next}"]`).focus();
  };
  return html`<div class="chart">
    <div class="chart-lanes" aria-hidden="true" style=${{ width: `${labelPx}px`, height: `${height}px` }}>
      ${bars.filter((bar) => bar.lane).map(
        ({ y, lane }) => html`<p class=${lane.isFirst ? "chart-worker" : "chart-part"} style=${{ top: `${y}px` }} title=${lane.name}>${lane.name}</p>`,
      )}
    </div>
    <div ref=${box} class="chart-scroll" tabindex="0" role="region" aria-label="Timeline, scrolls sideways">
      <svg ref=${svg} width=${chartPx} height=${height} role="group" aria-label="Timeline of the job, in seconds" onKeyDown=${onKeyDown} onMouseLeave=${() => onShow(null)}>
        <${Axis} x=${x} end=${end} count=${Math.floor(chartPx / TICK_PX)} height=${height} />
        ${bars.filter((bar) => bar.lane && bar.y > AXIS_PX + LANE_GAP_PX).map(({ y }) => html`<line class="chart-divider" x1="0" x2=${chartPx} y1=${y - LANE_GAP_PX / 2} y2=${y - LANE_GAP_PX / 2} />`)}
        ${bars.map(
          ({ span, y }, i) => html`<rect
            key=${i} data-bar=${i} class="bar ${colourOf(span.name)}" role="img" aria-label=${describe(span)} tabindex=${i === current ? "0" : "-1"}
            x=${x(span.start_s)} y=${y} height=${BAR_PX} width=${Math.max(LEAST_BAR_PX, x(span.end_s) - x(span.start_s))}
            onMouseEnter=${() => onShow(span)} onFocus=${() => (setCurrent(i), onShow(span))} onClick=${() => onShow(span)}
          />`,
        )}
      </svg>
    </div>
  </div>`;
}

function Axis({ x, end, count, height }) {
  const times = ticks(end, count);
  const digits = times.length > 1 ? Math.max(0, Math.ceil(-Math.log10(times[1]) - 1e-9)) : 0;
  return html`<g class="chart-axis" aria-hidden="true">
    ${times.map(
      (seconds, i) => html`<line x1=${x(seconds)} x2=${x(seconds)} y1=${AXIS_PX - 6} y2=${height} />
        <text x=${x(seconds)} y="12" text-anchor=${i ? "middle" : "start"}>${seconds.toFixed(digits)} s</text>`,
    )}
  </g>`;
}

/** Each span with its row's place, lane by lane; the first of a lane has the lane. */
function placed(lanes) {
  const bars = [];
  let y = AXIS_PX;
  for (const lane of lanes) {
    lane.rows.forEach((row, r) => {
      row.forEach((span, i) => bars.push({ span, y, lane: r === 0 && i === 0 ? lane : null }));
      y += ROW_PX;
    });
    y += LANE_GAP_PX;
  }
  return bars;
}

/** The bar that a key moves to: left and right within a row, up and down to the nearest in time of another row. */
function neighbour(bars, current, key) {
  const { y, span } = bars[current];
  const inRow = bars.map((bar, i) => ({ ...bar, i })).filter((bar) => bar.y === y);
  const place = inRow.findIndex((bar) => bar.i === current);
  if (key === "ArrowLeft") return inRow[Math.max(0, place - 1)].i;
  if (key === "ArrowRight") return inRow[Math.min(inRow.length - 1, place + 1)].i;
  if (key === "Home") return inRow[0].i;
  if (key === "End") return inRow.at(-1).i;
  if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
  const rows = [...new Set(bars.map((bar) => bar.y))];
  const target = rows[rows.indexOf(y) + (key === "ArrowUp" ? -1 : 1)] ?? y;
  const distance = (bar) => Math.abs(bar.span.start_s - span.start_s);
  return bars.map((bar, i) => ({ ...bar, i })).filter((bar) => bar.y === target).sort((a, b) => distance(a) - distance(b))[0].i;
}

/** Keeps what is in the middle of a scrolling box there when its content becomes wider or narrower. */
function useKeptCentre(chartPx) {
  const box = useRef(null);
  const before = useRef(chartPx);
  useLayoutEffect(() => {
    const { scrollLeft, clientWidth } = box.current;
    box.current.scrollLeft = ((scrollLeft + clientWidth / 2) * chartPx) / before.current - clientWidth / 2;
    before.current = chartPx;
  }, [chartPx]);
  return box;
}
