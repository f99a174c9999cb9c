import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { request } from "./api.js";

/**
 * What a GET of `path` answers: {data, error, isLoading, reload}. With `everyMs` it is read again and again while the
 * page is visible; data stays while it is read, and through errors. A `path` of `null` is not read.
 */
export function useResource(path, { everyMs = 0 } = {}) {
  const [state, setState] = useState({ data: null, error: null, isLoading: path !== null });
  const call = useRef(null);

  const reload = useCallback(async () => {
    if (path === null) return;
    call.current?.abort();
    const abort = (call.current = new AbortController());
    try {
      const data = await request(path, { signal: abort.signal });
      setState({ data, error: null, isLoading: false });
    } catch (error) {
      if (error.name === "AbortError") return;
      setState((before) => ({ data: before.data, error, isLoading: false }));
    }
  }, [path]);

  useEffect(() => {
    reload();
    const again = () => !document.hidden && reload();
    const timer = everyMs ? setInterval(again, everyMs) : null;
    if (everyMs) document.addEventListener("visibilitychange", again);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", again);
      call.current?.abort();
    };
  }, [reload, everyMs]);

  return { ...state, reload };
}
