import { signal } from "@preact/signals";

import { request } from "./api.js";
import { notify } from "./components/toast.js";
import { onEvent } from "./events.js";

const FIELDS =
  "status,created_at,started_at,finished_at,queue_position,progress,model,prompt,images,error,warnings,priority,estimate";
const PAGE = 50;
/** Changes of more jobs than this at once are read as a list. */
const FEW = 4;
const GATHER_MS = 50;

/** The latest jobs of the tenant, newest first: a Map from id to summary, kept current by the event stream. */
export const jobs = signal(new Map());
/** Asks for the jobs before those of `jobs`; `null`: there are none. */
export const olderCursor = signal(null);
/** Whether the list has been read. */
export const areJobsLoaded = signal(false);

const changed = new Set();
/** Ids of jobs that were deleted: an answer that was on its way does not bring them back. */
const deleted = new Set();
/** By the id of a job, which read of it is the one that is shown: answers overtake each other. */
const shownReads = new Map();
let readCount = 0;
let timer = null;

/** Keep `jobs` current from now on. */
export function startJobs() {
  const ends = [
    onEvent("reset", () => loadJobs().catch(() => {})),
    onEvent("status", ({ job, status }) => {
      if (isLive(status)) patchJob(job, { status }); // one that has ended is shown once its images are known
      if (status !== "running" || !jobs.value.has(job)) refresh(job);
    }),
    onEvent("progress", ({ job, step, total }) => patchJob(job, { progress: { step, total } })),
    onEvent("done", ({ job, status }) => (status === "deleted" ? removeJob(job) : refresh(job))),
  ];
  return () => ends.forEach((end) => end());
}

/** Read the newest jobs; raises ApiError. */
export async function loadJobs() {
  const page = await request(`v1/jobs?limit=${PAGE}&fields=${FIELDS}`);
  const last = page.next_cursor && page.jobs.at(-1).created_at;
  const older = [...jobs.value.values()].filter((job) => last && job.created_at < last);
  store([...page.jobs, ...older]);
  older.filter((job) => isLive(job.status)).slice(0, FEW).forEach((job) => refresh(job.id));
  olderCursor.value = page.next_cursor;
  areJobsLoaded.value = true;
}

/** Add the page of jobs before those that are there; raises ApiError. */
export async function loadOlderJobs() {
  if (olderCursor.value === null) return;
  const page = await request(`v1/jobs?limit=${PAGE}&fields=${FIELDS}&cursor=${encodeURIComponent(olderCursor.value)}`);
  store([...jobs.value.values(), ...page.jobs]);
  olderCursor.value = page.next_cursor;
}

/** Read one job again, and put it into `jobs`; `undefined` if it is gone. */
export async function loadJob(id) {
  const read = ++readCount;
  try {
    const full = await request(`v1/jobs/${id}`);
    const job = { ...full, model: full.request.model, prompt: full.request.prompt };
    if (read > (shownReads.get(id) ?? 0)) {
      shownReads.set(id, read);
      putJob(job);
    }
    return job;
  } catch (error) {
    if (error.status !== 404) throw error;
    store([...jobs.value.values()].filter((job) => job.id !== id)); // not for ever: it may be another login's
    return undefined;
  }
}

/** Cancel a job; what goes wrong is shown as a toast. */
export async function cancelJob(id) {
  try {
    await request(`v1/jobs/${id}/cancel`, { method: "POST" });
  } catch (error) {
    notify(`The job was not cancelled: ${error.detail}`, "bad");
  }
}

/** Delete a job with its images; what goes wrong is shown as a toast. Returns whether it is gone. */
export async function deleteJob(id) {
  try {
    await request(`v1/jobs/${id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) {
      notify(`The job was not deleted: ${error.detail}`, "bad");
      return false;
    }
  }
  removeJob(id);
  return true;
}

/** Whether a job of this status will change by itself. */
export function isLive(status) {
  return status === "queued" || status === "running";
}

/** `job` as it was read, or as `before` knows it already: answers and events overtake each other. */
export function newer(job, before) {
  if (before?.id !== job.id || !isLive(job.status)) return job;
  if (!isLive(before.status)) return before; // what has ended never lives again
  const isBehind = job.status === "running" && before.progress?.step > job.progress?.step;
  return isBehind ? { ...job, progress: before.progress } : job;
}

/** The address of the latest preview of a running job; a new one after each step. */
export function previewUrl(job) {
  return `v1/jobs/${job.id}/preview?step=${job.progress?.step ?? 0}`;
}

/** The address of image `n` of a job. */
export function imageUrl(id, n) {
  return `v1/jobs/${id}/images/${n}`;
}

function patchJob(id, fields) {
  const job = jobs.value.get(id);
  if (job) jobs.value = new Map(jobs.value).set(id, newer({ ...job, ...fields }, job));
}

function putJob(job) {
  if (jobs.value.has(job.id)) jobs.value = new Map(jobs.value).set(job.id, newer(job, jobs.value.get(job.id)));
  else store([job, ...jobs.value.values()]);
}

function removeJob(id) {
  deleted.add(id);
  changed.delete(id);
  store([...jobs.value.values()]);
}

/** Newest first, whichever way they came; the time is text that sorts as it is. */
function store(list) {
  list.sort((one, other) => (one.created_at < other.created_at ? 1 : one.created_at > other.created_at ? -1 : 0));
  const kept = list.filter(({ id }) => !deleted.has(id));
  jobs.value = new Map(kept.map((job) => [job.id, newer(job, jobs.value.get(job.id))]));
}

function refresh(id) {
  changed.add(id);
  timer ??= setTimeout(readChanged, GATHER_MS);
}

async function readChanged() {
  const ids = [...changed];
  changed.clear();
  timer = null;
  try {
    await (ids.length > FEW ? loadJobs() : Promise.all(ids.map(loadJob)));
  } catch {
    // The API does not answer: the stream is lost as well, and a `reset` follows.
  }
}
