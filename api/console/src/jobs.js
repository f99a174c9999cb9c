import { signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

import { ApiError, request } from "./api.js";
import { notify } from "./components/toast.js";
import { onEvents } from "./events.js";

/**
 * Follow job `id` as `GET v1/jobs/ID` answers it, from `start()` on, which returns what ends it: `state`, a signal of
 * {job, error}, and `reload`.
 */
export function followJob(id) {
  const state = signal({ job: null, error: null });
  let call = null;

  const reload = async () => {
    call?.abort();
    const { signal } = (call = new AbortController());
    try {
      const job = await request(`v1/jobs/${encodeURIComponent(id)}`, { signal });
      state.value = { job: newer(job, state.value.job), error: null };
    } catch (error) {
      if (error.name === "AbortError") return;
      state.value = { job: error.status === 404 ? null : state.value.job, error };
    }
  };
  const remove = () => {
    call?.abort();
    state.value = { job: null, error: new ApiError(404) };
  };
  const advance = (progress) => {
    const { job, error } = state.value;
    if (job && isLive(job.status)) state.value = { job: { ...job, progress }, error };
  };

  const start = () => {
    const ofThis = (handler) => (event) => event.job === id && handler(event);
    const end = onEvents({
      reset: reload,
      status: ofThis(reload),
      done: ofThis(({ status }) => (status === "deleted" ? remove() : reload())),
      progress: ofThis(({ step, total }) => advance({ step, total })),
    });
    reload();
    return () => {
      end();
      call.abort();
    };
  };
  return { state, start, reload };
}

/** Job `id`, followed while its component is shown: {job, error, reload}. */
export function useJob(id) {
  const { state, start, reload } = useMemo(() => followJob(id), [id]);
  useEffect(start, [start]);
  return { ...state.value, reload };
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
  return true;
}

/** Whether a job of this status will change by itself. */
export function isLive(status) {
  return status === "queued" || status === "running";
}

/** `job` as it was read, or as `before` knows it already: answers and events overtake each other. */
function newer(job, before) {
  if (!before || !isLive(job.status)) return job;
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

/** The address of a small version of it, for lists. */
export function thumbnailUrl(id, n) {
  return `${imageUrl(id, n)}/thumbnail`;
}
