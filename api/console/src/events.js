import { signal } from "@preact/signals";

/** Whether events arrive: "open", or "lost" while the stream is being opened again. */
export const connection = signal("lost");

const KINDS = ["status", "progress", "done", "reset", "unauthorized"];
const REOPEN_MS = 3000;
/** A page that nobody looks at gives its connection back: browsers have six for all tabs of a host. */
const HIDDEN_MS = 60_000;
const handlers = new Map(KINDS.map((kind) => [kind, new Set()]));
let source = null;
let reopenTimer = null;
let hiddenTimer = null;
let isStarted = false;

/**
 * Call `handler(data)` at each event of this kind, with the job's id as `data.job`; returns what ends that. `reset`:
 * events may be missing, so read again what they tell of; it also comes whenever the stream is opened anew.
 */
export function onEvent(kind, handler) {
  handlers.get(kind).add(handler);
  return () => handlers.get(kind).delete(handler);
}

/** Call the handler of each kind at its events; returns what ends that. */
export function onEvents(handlers) {
  const ends = Object.entries(handlers).map(([kind, handler]) => onEvent(kind, handler));
  return () => ends.forEach((end) => end());
}

/** Open the one stream of all the tenant's jobs, and keep it open. */
export function startEvents() {
  if (isStarted) return;
  isStarted = true;
  document.addEventListener("visibilitychange", onVisibility);
  open();
}

/** Close the stream. */
export function stopEvents() {
  isStarted = false;
  document.removeEventListener("visibilitychange", onVisibility);
  clearTimeout(hiddenTimer);
  close();
}

function open() {
  close();
  source = new EventSource("v1/events");
  let wasOpen = false;
  source.onopen = () => {
    connection.value = "open";
    if (!wasOpen) emit("reset", {});
    wasOpen = true; // later the browser resumes after the last event by itself
  };
  source.onerror = () => {
    connection.value = "lost";
    if (source?.readyState === EventSource.CLOSED) reopenTimer = setTimeout(open, REOPEN_MS); // refused
  };
  for (const kind of KINDS) source.addEventListener(kind, (event) => emit(kind, JSON.parse(event.data)));
}

function close() {
  clearTimeout(reopenTimer);
  source?.close();
  source = null;
  connection.value = "lost";
}

function onVisibility() {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(close, HIDDEN_MS);
  else if (source === null || source.readyState === EventSource.CLOSED) open();
}

function emit(kind, data) {
  for (const handler of handlers.get(kind)) handler(data);
}
