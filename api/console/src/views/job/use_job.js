import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { ApiError, request } from "../../api.js";
import { onEvent } from "../../events.js";
import { newer } from "../../jobs.js";

/** Job `id` as `GET v1/jobs/ID` answers it, kept current by the event stream: {job, error, reload}. */
export function useJob(id) {
  const [state, setState] = useState({ job: null, error: null });
  const call = useRef(null);

  const reload = useCallback(async () => {
    call.current?.abort();
    const { signal } = (call.current = new AbortController());
    try {
      const job = await request(`v1/jobs/${encodeURIComponent(id)}`, { signal });
      setState((before) => ({ job: newer(job, before.job), error: null }));
    } catch (error) {
      if (error.name === "AbortError") return;
      setState((before) => ({ job: error.status === 404 ? null : before.job, error }));
    }
  }, [id]);

  useEffect(() => {
    reload();
    const remove = () => {
      call.current.abort();
      setState({ job: null, error: new ApiError(404) });
    };
    const ofThis = (handler) => (event) => event.job === id && handler(event);
    const ends = [
      onEvent("reset", reload),
      onEvent("status", ofThis(reload)),
      onEvent("done", ofThis(({ status }) => (status === "deleted" ? remove() : reload()))),
      onEvent("progress", ofThis(({ step, total }) => setState((before) => advance(before, { step, total })))),
    ];
    return () => {
      ends.forEach((end) => end());
      call.current.abort();
    };
  }, [id, reload]);

  return { ...state, reload };
}

function advance(state, progress) {
  return state.job ? { ...state, job: { ...state.job, progress } } : state;
}
