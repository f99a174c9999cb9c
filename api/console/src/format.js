const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** Seconds as people say them: "0.42 s", "12 s", "3 min 5 s", "2 h 10 min". */
export function formatSeconds(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** Bytes with a unit, in thousands: "3.2 MB". */
export function formatBytes(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  let unit = 0;
  while (bytes >= 1000 && unit < UNITS.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${UNITS[unit]}`;
}

/** A time of the API in the reader's own zone and language. */
export function formatDate(iso) {
  if (!iso) return "–";
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** How long ago a time of the API is: "12 s ago". */
export function formatAgo(iso) {
  if (!iso) return "–";
  return `${formatSeconds(Math.max(0, Math.round((Date.now() - new Date(iso)) / 1000)))} ago`;
}

/** A share between 0 and 1 as a whole percentage. */
export function formatPercent(share) {
  return share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`;
}

/** "1 image", "3 images". */
export function plural(count, noun) {
  return `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;
}
