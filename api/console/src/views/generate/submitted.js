import { signal } from "@preact/signals";

const KEY = "swiftdiffusion.submitted";
const KEPT = 30;

/** Ids of the jobs that this tab has submitted, newest first; kept while the tab is open. */
export const submitted = signal(read());

/** Add a job in front. */
export function addSubmitted(id) {
  write([id, ...submitted.value].slice(0, KEPT));
}

/** Show these jobs no longer. */
export function removeSubmitted(ids) {
  write(submitted.value.filter((id) => !ids.includes(id)));
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return []; // storage is forbidden, or holds something else
  }
}

function write(ids) {
  submitted.value = ids;
  try {
    sessionStorage.setItem(KEY, JSON.stringify(ids));
  } catch {
    // storage is forbidden: the list is gone when the page is loaded again
  }
}
