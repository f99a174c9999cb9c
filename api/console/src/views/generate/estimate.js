import { useEffect, useState } from "preact/hooks";

import { request } from "../../api.js";
import { formatSeconds } from "../../format.js";
import { html } from "../../html.js";
import { imageKey, makePlaceholders, placeholderOf, withImages } from "./placeholders.js";

const TYPING_MS = 500;

/** Ask, once nothing has changed for a moment, when a job would be done: {estimate, error}. */
export function useEstimate(body) {
  const [state, setState] = useState({ estimate: null, error: null });
  const isEmpty = !body.prompt.trim();
  const text = isEmpty ? "" : JSON.stringify(withImages(body, imageKey));

  useEffect(() => {
    if (!text) {
      setState({ estimate: null, error: null });
      return undefined;
    }
    const abort = new AbortController();
    const ask = async () => {
      try {
        const estimate = await request("v1/jobs?dry_run=1", { method: "POST", json: withImages(body, placeholderOf), signal: abort.signal });
        setState({ estimate, error: null });
        makePlaceholders(body);
      } catch (error) {
        if (error.name !== "AbortError") setState({ estimate: error.estimate, error });
      }
    };
    const timer = setTimeout(ask, TYPING_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);

  return state;
}

/** An estimate in words. */
export function Estimate({ estimate }) {
  if (!estimate) return null;
  const { device_seconds, eta_s, eta_p90_s, queue_position } = estimate;
  if (eta_s === null) return html`<span>No worker serves this model now: the job would wait.</span>`;
  return html`<span>
    Done in about <strong>${formatSeconds(eta_s)}</strong>${queue_position > 1 ? `, behind ${queue_position - 1} of your jobs` : ""};
    ${" "}nine of ten such jobs within ${formatSeconds(eta_p90_s)}. It uses a device for ${formatSeconds(device_seconds)}.
  </span>`;
}
