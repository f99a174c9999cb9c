import { batch, signal } from "@preact/signals";

import { request } from "../../api.js";
import { onEvent } from "../../events.js";

const FIELDS = "created_at,started_at,finished_at,queue_position,progress,model,prompt,priority,estimate,error,tenant";
const PAGE = 200;
/** Jobs that are read of the queue at once: its front is on the last page. */
const MOST_WAITING = 1000;
const GATHER_MS = 300;

/** The statuses that a filter of the view shows; `null`: all of them. */
const STATUSES = { active: ["running", "queued"], all: [null] };

/**
 * Jobs with a filter ("active", "all" or a status), kept current by the event stream: signals `rows` (one signal a
 * job, so that an event renders one row again), `isLoaded`, `error`, `hasOlder`; `start()` returns what ends it.
 */
export function queueJobs(filter, tenants) {
  const statuses = STATUSES[filter] ?? [filter];
  const state = { rows: signal([]), isLoaded: signal(false), error: signal(null), hasOlder: signal(false) };
  const known = new Map(); // id -> signal of the job
  const deleted = new Set(); // an answer that was on its way does not bring them back
  let cursors = [];
  const changed = new Set();
  let timer = null;

  const isShown = (job) => statuses.includes(null) || statuses.includes(job.status);
  const show = () => {
    const order = filter === "active" ? byTurn : byAge;
    state.rows.value = [...known.values()].sort((a, b) => order(a.peek(), b.peek()));
    state.hasOlder.value = cursors.some(({ cursor }) => cursor !== null);
  };
  const put = (job) => {
    if (deleted.has(job.id)) return;
    if (known.has(job.id)) known.get(job.id).value = job;
    else known.set(job.id, signal(job));
  };
  const page = async (status, cursor) => {
    const query = new URLSearchParams({ limit: PAGE, fields: FIELDS });
    if (status) query.set("status", status);
    if (cursor) query.set("cursor", cursor);
    if (tenants === "all") query.set("tenants", "all");
    return request(`v1/jobs?${query}`);
  };

  /** Read the list from its beginning; of the queue all that waits. */
  const load = async () => {
    try {
      const jobs = [];
      const next = [];
      for (const status of statuses) {
        let found = { next_cursor: null };
        let count = 0;
        do {
          found = await page(status, found.next_cursor);
          jobs.push(...found.jobs);
          count += found.jobs.length;
        } while (status === "queued" && filter === "active" && found.next_cursor && count < MOST_WAITING);
        next.push({ status, cursor: found.next_cursor });
      }
      batch(() => {
        const ids = new Set(jobs.map(({ id }) => id));
        for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
        jobs.forEach(put);
        cursors = next;
        state.error.value = null;
        show();
      });
    } catch (error) {
      state.error.value = error;
    }
    state.isLoaded.value = true;
  };

  /** Add the page behind the last one. */
  const loadOlder = async () => {
    const next = [];
    for (const { status, cursor } of cursors) {
      const found = cursor === null ? { jobs: [], next_cursor: null } : await page(status, cursor);
      found.jobs.forEach(put);
      next.push({ status, cursor: found.next_cursor });
    }
    cursors = next;
    show();
  };

  const readChanged = async () => {
    timer = null;
    const ids = new Set(changed);
    changed.clear();
    try {
      const { jobs, next_cursor } = await page(null, null);
      const found = jobs.filter(({ id }) => ids.has(id));
      if (found.length < ids.size && next_cursor !== null) return await load(); // some are older than a page
      batch(() => {
        for (const id of ids) known.delete(id);
        found.filter(isShown).forEach(put);
        show();
      });
    } catch (error) {
      state.error.value = error;
    }
    return undefined;
  };
  const refresh = (id) => {
    changed.add(id);
    timer ??= setTimeout(readChanged, GATHER_MS);
  };

  const onStatus = ({ job: id, status, at }) => {
    const own = known.get(id);
    if (!own || status === "queued" || status === "failed") return refresh(id);
    const before = own.peek();
    return batch(() => {
      const started_at = status === "running" ? new Date(at * 1000).toISOString() : before.started_at;
      own.value = { ...before, status, started_at, queue_position: null };
      if (before.status === "queued") moveUp(known, before);
      if (!isShown(own.peek())) known.delete(id);
      show();
    });
  };
  const onDone = ({ job: id, status }) => {
    if (status !== "deleted") return;
    deleted.add(id);
    if (known.delete(id)) show();
  };
  const onProgress = ({ job: id, step, total }) => {
    const own = known.get(id);
    if (own) own.value = { ...own.peek(), progress: { step, total } };
  };

  const start = () => {
    const ends = [onEvent("reset", load), onEvent("status", onStatus), onEvent("done", onDone), onEvent("progress", onProgress)];
    load();
    // Events are of the tenant's own jobs.
    const poll = tenants === "all" && setInterval(() => document.hidden || load(), 4000);
    return () => {
      ends.forEach((end) => end());
      clearTimeout(timer);
      clearInterval(poll);
    };
  };
  return { ...state, start, load, loadOlder };
}

/** A job has left the queue: those of its tenant behind it move up. */
function moveUp(known, left) {
  for (const one of known.values()) {
    const job = one.peek();
    const isBehind = job.status === "queued" && job.tenant === left.tenant && job.queue_position > left.queue_position;
    if (isBehind) one.value = { ...job, queue_position: job.queue_position - 1 };
  }
}

/** Running jobs first, then those that wait by their place. */
function byTurn(a, b) {
  if (a.status !== b.status) return a.status === "running" ? -1 : 1;
  if (a.status === "running") return byAge(a, b);
  return (a.queue_position ?? Infinity) - (b.queue_position ?? Infinity) || -byAge(a, b);
}

function byAge(a, b) {
  return a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : a.id < b.id ? 1 : -1;
}
