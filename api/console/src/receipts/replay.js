import { request } from "../api.js";
import { parseExactly } from "./exact_json.js";
import { requestOf } from "./request_of.js";

/** Job `id` with its numbers as they stand in the API's answer; raises ApiError. */
export function readExactJob(id, signal) {
  return request(`v1/jobs/${encodeURIComponent(id)}`, { signal, parse: parseExactly });
}

/** Submit a receipt again; `receipt` as `parseExactly` gives it. Returns what the API answers; raises ApiError. */
export function submitReceipt(receipt) {
  return request("v1/jobs", { method: "POST", json: { receipt } });
}

/** Submit a job again: its receipt, or its request while it has none. Returns what the API answers; raises ApiError. */
export async function submitAgain(id) {
  const job = await readExactJob(id);
  return job.receipt ? submitReceipt(job.receipt) : request("v1/jobs", { method: "POST", json: requestOf(job) });
}
