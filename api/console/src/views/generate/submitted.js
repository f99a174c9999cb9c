import { signal } from "@preact/signals";

import { followJob } from "../../jobs.js";
import { SUBMITTED, readTab, writeTab } from "../../tab_storage.js";

const KEPT = 30;

/** The jobs that this tab has submitted, newest first, as `followJob` follows them; kept while the tab is open. */
export const submitted = signal((readTab(SUBMITTED) ?? []).map(submittedJob));

/** Add a job in front. */
export function addSubmitted(id) {
  write([submittedJob(id), ...submitted.value].slice(0, KEPT));
}

/** Show these jobs no longer. */
export function removeSubmitted(ids) {
  write(submitted.value.filter(({ id }) => !ids.includes(id)));
}

function submittedJob(id) {
  return { id, ...followJob(id) };
}

function write(jobs) {
  submitted.value = jobs;
  writeTab(SUBMITTED, jobs.map(({ id }) => id));
}
