import { shortWorker } from "./timeline_layout.js";

/** A span in a sentence: "encoder on unet1: 0.412 s to 0.634 s, 222 ms". */
export function describe(span) {
  const counts = Object.entries(span.counts ?? {}).map(([what, count]) => `, ${what.replaceAll("_", " ")} ${count.toLocaleString()}`);
  if (span.residual != null) counts.push(`, residual ${span.residual} of its step`);
  return `${span.name} on ${shortWorker(span.worker)}: ${formatTime(span.start_s)} to ${formatTime(span.end_s)}, ${formatDuration(span)}${counts.join("")}`;
}

/** A time since the job was accepted. */
export function formatTime(seconds) {
  return `${seconds.toFixed(3)} s`;
}

/** How long a span took. */
export function formatDuration({ start_s, end_s }) {
  const seconds = end_s - start_s;
  return seconds < 1 ? `${(1000 * seconds).toFixed(seconds < 0.1 ? 1 : 0)} ms` : `${seconds.toFixed(2)} s`;
}
