import { signal } from "@preact/signals";

import { request } from "../../api.js";
import { onEvent } from "../../events.js";

const FIELDS = "created_at,model,prompt,images";
const PAGE = 40;
const GATHER_MS = 300;

/** The images of jobs that have succeeded, newest first: signals `images`, `isLoaded`, `error`, `hasOlder`. */
export function galleryImages() {
  const state = { images: signal([]), isLoaded: signal(false), error: signal(null), hasOlder: signal(false) };
  let jobs = new Map();
  let cursor = null;
  let timer = null;
  let last = Promise.resolve(); // one call after another

  const read = (after) => request(`v1/jobs?status=succeeded&limit=${PAGE}&fields=${FIELDS}${after ? `&cursor=${encodeURIComponent(after)}` : ""}`);
  const show = () => {
    const newestFirst = [...jobs.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
    state.images.value = newestFirst.flatMap((job) => job.images.map((image, n) => ({ key: `${job.id}-${n}`, job, image, n })));
    state.hasOlder.value = cursor !== null;
  };
  const inTurn = (act) =>
    (last = last.then(async () => {
      try {
        await act();
        state.error.value = null;
      } catch (error) {
        state.error.value = error;
      }
      state.isLoaded.value = true;
    }));

  /** Read the newest; what is older and was read stays, unless there is a gap between the two. */
  const load = () =>
    inTurn(async () => {
      const page = await read();
      const isJoined = page.next_cursor === null || page.jobs.some(({ id }) => jobs.has(id));
      if (!isJoined || !jobs.size) cursor = page.next_cursor;
      jobs = new Map([...(isJoined ? jobs : []), ...page.jobs.map((job) => [job.id, job])]);
      if (page.next_cursor === null) jobs = new Map(page.jobs.map((job) => [job.id, job]));
      show();
    });
  const loadOlder = () =>
    inTurn(async () => {
      if (cursor === null) return;
      const page = await read(cursor);
      for (const job of page.jobs) jobs.set(job.id, job);
      cursor = page.next_cursor;
      show();
    });

  const remove = (id) => (last = last.then(() => jobs.delete(id) && show()));

  const start = () => {
    const refresh = () => (timer ??= setTimeout(() => ((timer = null), load()), GATHER_MS));
    const onDone = ({ job, status }) => {
      if (status === "succeeded") refresh();
      else if (status === "deleted") remove(job);
    };
    const ends = [onEvent("reset", refresh), onEvent("done", onDone)];
    load();
    return () => {
      ends.forEach((end) => end());
      clearTimeout(timer);
    };
  };
  return { ...state, start, load, loadOlder };
}
