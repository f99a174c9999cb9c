import { batch, signal } from "@preact/signals";

import { request } from "./api.js";
import { onEvents } from "./events.js";

/** Changes of this time are read together. */
const GATHER_MS = 300;
/** Jobs of a status that is read whole: the front of the queue is on its last page. */
const MOST = 1000;

/**
 * Follow a list of jobs with these `statuses` (`null`: any) and `fields`, from `start()` on, which returns what ends it:
 * signals `rows` (one signal a job, so that an event renders one row again), `isLoaded`, `error`, `hasOlder`; `load` and
 * `loadOlder`. `whole`: the status whose jobs are all read; `tenants`: "own" or "all"; `order`: how `rows` are sorted.
 */
export function jobList({ statuses, fields, limit, whole = "", tenants = "own", order = byAge }) {
  const state = { rows: signal([]), isLoaded: signal(false), error: signal(null), hasOlder: signal(false) };
  const known = new Map(); // id -> signal of the job
  const told = new Map(); // id -> its status by the latest event
  const changed = new Set();
  let cursors = []; // of each status: what asks for the jobs behind those that are known
  let timer = null;
  let last = Promise.resolve();

  const isShown = ({ status }) => statuses.includes(null) || statuses.includes(status);
  const show = () => {
    state.rows.value = [...known.values()].sort((a, b) => order(a.peek(), b.peek()));
    state.hasOlder.value = cursors.some((cursor) => cursor !== null);
  };
  const put = (job) => {
    // An answer with another status is older than the event, or another event is on its way.
    if ((told.get(job.id) ?? job.status) !== job.status) return;
    if (known.has(job.id)) known.get(job.id).value = job;
    else known.set(job.id, signal(job));
  };
  const page = (status, cursor) => {
    const query = { limit, fields, tenants, ...(status && { status }), ...(cursor && { cursor }) };
    return request(`v1/jobs?${new URLSearchParams(query)}`);
  };
  /** Reads follow one another; what goes wrong is the state's error. */
  const inTurn = (read) => () =>
    (last = last.then(async () => {
      try {
        await read();
        state.error.value = null;
      } catch (error) {
        state.error.value = error;
      }
      state.isLoaded.value = true;
    }));

  /** Read the list from its beginning. What is older and was read stays, unless there may be a gap between the two. */
  const readNewest = async () => {
    const jobs = [];
    const next = [];
    for (const status of statuses) {
      let found = { next_cursor: null };
      do {
        found = await page(status, found.next_cursor);
        jobs.push(...found.jobs);
      } while (status === whole && found.next_cursor && jobs.length < MOST);
      next.push(found.next_cursor);
    }
    const isPart = statuses.length === 1 && next[0] !== null;
    const isJoined = isPart && jobs.some(({ id }) => known.has(id));
    const older = [...known].filter(([, job]) => isJoined && byAge(jobs.at(-1), job.peek()) < 0);
    const ids = new Set([...older.map(([id]) => id), ...jobs.map(({ id }) => id)]);
    batch(() => {
      for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
      if (!older.length) cursors = next;
      jobs.forEach(put);
      show();
    });
  };
  const load = inTurn(readNewest);

  /** Add the page behind the last one. */
  const loadOlder = inTurn(async () => {
    for (const [i, status] of statuses.entries()) {
      if (cursors[i] === null) continue;
      const found = await page(status, cursors[i]);
      found.jobs.forEach(put);
      cursors[i] = found.next_cursor;
    }
    show();
  });

  const readChanged = inTurn(async () => {
    const ids = new Set(changed);
    changed.clear();
    const { jobs, next_cursor } = await page();
    const found = jobs.filter(({ id }) => ids.has(id));
    if (found.length < ids.size && next_cursor !== null) return readNewest(); // some are older than a page
    return batch(() => {
      for (const id of ids) known.delete(id);
      found.filter(isShown).forEach(put);
      show();
    });
  });
  const refresh = (id) => {
    changed.add(id);
    timer ??= setTimeout(() => ((timer = null), readChanged()), GATHER_MS);
  };

  const onStatus = ({ job: id, status, at }) => {
    told.set(id, status);
    const own = known.get(id);
    if (!own) return isShown({ status }) && refresh(id);
    if (status === "queued" || status === "failed") return refresh(id); // its place, or why
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
    told.set(id, status);
    if (known.delete(id)) show();
  };
  const onProgress = ({ job: id, step, total }) => {
    const own = known.get(id);
    if (own) own.value = { ...own.peek(), progress: { step, total } };
  };

  const onReset = () => {
    told.clear();
    load();
  };

  const start = () => {
    const end = onEvents({ reset: onReset, status: onStatus, done: onDone, progress: onProgress });
    load();
    // Events are of the tenant's own jobs.
    const poll = tenants === "all" && setInterval(() => document.hidden || load(), 4000);
    return () => {
      end();
      clearTimeout(timer);
      clearInterval(poll);
    };
  };
  return { ...state, start, load, loadOlder };
}

/** Newest first, as the API lists them. */
export function byAge(a, b) {
  return a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : a.id < b.id ? 1 : -1;
}

/** Running jobs first, then those that wait by their place. */
export function byTurn(a, b) {
  if (a.status !== b.status) return a.status === "running" ? -1 : 1;
  if (a.status === "running") return byAge(a, b);
  return (a.queue_position ?? Infinity) - (b.queue_position ?? Infinity) || -byAge(a, b);
}

/** A job has left the queue: those of its tenant behind it move up. */
function moveUp(known, left) {
  for (const one of known.values()) {
    const job = one.peek();
    const isBehind = job.status === "queued" && job.tenant === left.tenant && job.queue_position > left.queue_position;
    if (isBehind) one.value = { ...job, queue_position: job.queue_position - 1 };
  }
}
