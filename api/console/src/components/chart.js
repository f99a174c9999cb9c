import { useEffect, useRef, useState } from "preact/hooks";

import { html } from "../html.js";
import { theme } from "../theme.js";

/** uPlot, read when the first chart is shown: it is larger than the rest of the page. */
let loading = null;

/**
 * A chart of uPlot as wide as its place. `data`: [times in s, values, …]; `series`: for each list of values {color:
 * "--accent", kind: "line" | "steps" | "bars", scale, fill}; `axes` and `scales` as uPlot's. `label` says in words what
 * the chart shows: a canvas is nothing to a screen reader.
 */
export function Chart({ data, series, axes, scales, label, height = 160 }) {
  const box = useRef(null);
  const plot = useRef(null);
  const latest = useRef(data);
  const [uPlot, setUPlot] = useState(null);
  const [isMissing, setMissing] = useState(false);
  const shownTheme = theme.value;
  latest.current = data;

  useEffect(() => {
    loading ??= import("uplot");
    loading.then(
      (module) => setUPlot(() => module.default),
      () => {
        loading = null; // the next chart tries again
        setMissing(true);
      },
    );
  }, []);

  useEffect(() => {
    if (!uPlot) return undefined;
    const place = box.current; // the reference is gone before the observer is
    const build = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(uPlot, place, { series, axes, scales, height }), latest.current, place);
    };
    build();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: place.clientWidth, height }));
    resized.observe(place);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", build); // a canvas keeps the colours that it was painted with
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", build);
      plot.current.destroy();
      plot.current = null;
    };
  }, [uPlot, shownTheme, series, axes, scales, height]);

  useEffect(() => plot.current?.setData(data), [data]);
  if (isMissing) return html`<p class="field-error" role="alert">The chart could not be loaded: open this page again.</p>`;
  return html`<div class="plot" role="img" aria-label=${label} style=${{ minHeight: `${height}px` }} ref=${box}></div>`;
}

/** A canvas knows no custom properties: the options have their colours, as they are now. */
function options(uPlot, box, { series, axes, scales, height }) {
  const color = (token) => {
    box.style.color = `var(${token})`;
    return getComputedStyle(box).color;
  };
  const paths = { bars: uPlot.paths.bars({ size: [0.7, 48] }), steps: uPlot.paths.stepped({ align: 1 }) };
  const grid = { stroke: color("--border"), width: 1 };
  const font = `11px ${getComputedStyle(box).fontFamily}`;
  const drawn = series.map(({ color: token, kind, fill, scale }) => ({
    ...(scale && { scale }),
    stroke: color(token),
    width: 1.5,
    points: { show: false },
    paths: paths[kind],
    fill: fill && color(token).replace("rgb(", "rgba(").replace(")", ", 0.15)"),
  }));
  const axis = (own) => ({ stroke: color("--muted"), ticks: grid, font, ...own, grid: { ...grid, ...own.grid } });
  const made = {
    width: box.clientWidth,
    height,
    cursor: { show: false },
    legend: { show: false },
    scales,
    padding: [8, 8, 0, 0],
    series: [{}, ...drawn],
    axes: axes.map(axis),
  };
  box.style.color = "";
  return made;
}
