import { signal } from "@preact/signals";

import { request } from "../../api.js";
import { confirm } from "../../components/dialog.js";
import { notify } from "../../components/toast.js";
import { plural } from "../../format.js";

const AT_ONCE = 6;
const PAGE = 200;
const TRIES = 5;

/** What is being cancelled: {done, count, failures: [{id, detail}], isOver}, or null. */
export const cancelling = signal(null);

/** Cancel all the tenant's jobs of these statuses, once the user has confirmed it. */
export async function cancelAll(statuses, { title, text, label }) {
  let ids;
  try {
    ids = await idsOf(statuses);
  } catch (error) {
    notify(`The jobs could not be listed: ${error.detail}`, "bad");
    return;
  }
  if (!ids.length) {
    notify("There is no such job any more.");
    return;
  }
  const isSure = await confirm({ title: title(plural(ids.length, "job")), text, label: label(ids.length), isDangerous: true });
  if (isSure) await cancelJobs(ids);
}

/** Cancel these jobs, a few at once, and tell of it in `cancelling`. */
export async function cancelJobs(ids) {
  cancelling.value = { done: 0, count: ids.length, failures: [], isOver: false };
  const rest = [...ids];
  const worker = async () => {
    for (let id = rest.shift(); id !== undefined; id = rest.shift()) {
      const failure = await cancelOne(id);
      const { done, failures } = cancelling.value;
      cancelling.value = { ...cancelling.value, done: done + 1, failures: failure ? [...failures, { id, detail: failure }] : failures };
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  cancelling.value = { ...cancelling.value, isOver: true };
}

/** Why a job was not cancelled, or null. */
async function cancelOne(id) {
  for (let tries = 1; ; tries += 1) {
    try {
      await request(`v1/jobs/${id}/cancel`, { method: "POST" });
      return null;
    } catch (error) {
      if (error.status === 404) return null; // it is gone already
      const mayRetry = (error.status === 429 || error.status === 503) && tries < TRIES;
      if (!mayRetry) return error.detail ?? String(error);
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(error.retryAfterS || 1, 30)));
    }
  }
}

async function idsOf(statuses) {
  const ids = [];
  for (const status of statuses) {
    let cursor = "";
    do {
      const page = await request(`v1/jobs?status=${status}&limit=${PAGE}&fields=id${cursor && `&cursor=${cursor}`}`);
      ids.push(...page.jobs.map(({ id }) => id));
      cursor = page.next_cursor;
    } while (cursor);
  }
  return ids;
}
