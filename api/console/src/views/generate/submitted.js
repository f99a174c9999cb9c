import { signal } from "@preact/signals";

import { SUBMITTED, readTab, writeTab } from "../../tab_storage.js";

const KEPT = 30;

/** Ids of the jobs that this tab has submitted, newest first; kept while the tab is open. */
export const submitted = signal(readTab(SUBMITTED) ?? []);

/** Add a job in front. */
export function addSubmitted(id) {
  write([id, ...submitted.value].slice(0, KEPT));
}

/** Show these jobs no longer. */
export function removeSubmitted(ids) {
  write(submitted.value.filter((id) => !ids.includes(id)));
}

function write(ids) {
  submitted.value = ids;
  writeTab(SUBMITTED, ids);
}
