import { request } from "../api.js";

/** Submit a receipt again; `receipt` as `parseExactly` gives it. Returns what the API answers; raises ApiError. */
export function submitReceipt(receipt) {
  return request("v1/jobs", {
    method: "POST",
    body: JSON.stringify({ receipt }),
    headers: { "Content-Type": "application/json" },
  });
}
