import { useCallback, useEffect, useState } from "preact/hooks";

import { request } from "../../api.js";
import { onEvent } from "../../events.js";

/** Job `id` as `GET v1/jobs/ID` answers it, kept current by the event stream: {job, error, reload}. */
export function useJob(id) {
  const [state, setState] = useState({ job: null, error: null });

  const reload = useCallback(async () => {
    try {
      const job = await request(`v1/jobs/${encodeURIComponent(id)}`);
      setState((before) => ({ job: withLatest(job, before.job), error: null }));
    } catch (error) {
      setState((before) => ({ job: error.status === 404 ? null : before.job, error }));
    }
  }, [id]);

  useEffect(() => {
    reload();
    const ofThis = (handler) => (event) => event.job === id && handler(event);
    const ends = [
      onEvent("reset", reload),
      onEvent("status", ofThis(reload)),
      onEvent("done", ofThis(({ status }) => status === "deleted" || reload())),
      onEvent("progress", ofThis(({ step, total }) => setState((before) => advance(before, { step, total })))),
    ];
    return () => ends.forEach((end) => end());
  }, [id, reload]);

  return { ...state, reload };
}

// An event may have come while the answer was on its way; progress never goes back.
function withLatest(job, before) {
  const isBehind = job.status === "running" && before?.progress.step > job.progress.step;
  return isBehind ? { ...job, progress: before.progress } : job;
}

function advance(state, progress) {
  return state.job ? { ...state, job: { ...state.job, progress } } : state;
}
