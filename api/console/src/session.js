import { signal } from "@preact/signals";

import { access, request } from "./api.js";
import { SUBMITTED, TENANT, readTab, writeTab } from "./tab_storage.js";

/**
 * Who uses the page: {auth: "off" | "keys", tenant, scopes, csrf_token}; `null`: a login is needed; `undefined`: not
 * known yet.
 */
export const session = signal(undefined);

/** Whose prompts, images and jobs the tab holds; also while the login is shown. */
let tenant = readTab(TENANT);

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

/** End the session; the page is loaded anew, so that nothing of the user stays in it, and shows the login. */
export async function logout() {
  await request("v1/session", { method: "DELETE" });
  forget(null);
}

function store(answer) {
  if (answer && tenant && tenant !== answer.tenant) return forget(answer.tenant);
  if (answer) writeTab(TENANT, (tenant = answer.tenant));
  show(answer);
}

/** Have the page keep nothing that the tenant has typed, chosen or submitted in this tab. */
function forget(next) {
  writeTab(SUBMITTED, null);
  writeTab(TENANT, next);
  location.reload();
}

function show(answer) {
  access.csrfToken = answer?.csrf_token ?? null;
  session.value = answer && { ...answer, auth: answer.key_id === null ? "off" : "keys" };
}
