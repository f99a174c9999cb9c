import { signal } from "@preact/signals";

import { access, request } from "./api.js";

/**
 * Who uses the page: {auth: "off" | "keys", tenant, scopes, csrf_token}; `null`: a login is needed; `undefined`: not
 * known yet.
 */
export const session = signal(undefined);

/** Whether the user may do what needs this scope; the API decides, the page only hides. */
export function may(scope) {
  const scopes = session.value?.scopes ?? [];
  return scopes.includes(scope) || scopes.includes("admin");
}

/** Find out who the user is; keeps asking while the API does not answer. */
export async function startSession() {
  access.onUnauthorized = () => store(null);
  try {
    store(await request("v1/session"));
  } catch (error) {
    if (error.status !== 401) setTimeout(startSession, 2000);
  }
}

/** Log in with an API key; raises ApiError. */
export async function login(key) {
  store(await request("v1/session", { method: "POST", json: { key } }));
}

/** End the session; the login is shown. */
export async function logout() {
  await request("v1/session", { method: "DELETE" });
  store(null);
}

function store(answer) {
  access.csrfToken = answer?.csrf_token ?? null;
  session.value = answer && { ...answer, auth: answer.key_id === null ? "off" : "keys" };
}
