/** What the session knows and every request needs; `session.js` fills it in. */
export const access = { csrfToken: null, onUnauthorized: () => {} };

/** A refusal of the API, or status 0 where it does not answer. `field` names the field at fault, `errors` all. */
export class ApiError extends Error {
  constructor(status, problem = {}, retryAfterS = null) {
    super(problem.detail || "the API does not answer");
    this.status = status;
    this.code = problem.code ?? "";
    this.detail = this.message;
    this.field = problem.field ?? null;
    this.errors = problem.errors ?? [];
    this.estimate = problem.estimate ?? null;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * Ask the API: the parsed JSON, `null` of an empty answer, a Blob of anything else. `path` is relative to the page;
 * `parse` reads the JSON of an answer.
 * Raises ApiError; where the login has ended, the login view is shown, too.
 */
export async function request(path, { method = "GET", json, body, headers = {}, signal, parse = parseJson } = {}) {
  const sent = { Accept: "application/json, */*;q=0.8", ...csrfHeader(method), ...headers };
  if (json !== undefined) {
    sent["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  }
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: sent, signal, credentials: "same-origin" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new ApiError(0);
  }
  const content = await read(answer, parse);
  if (answer.ok) return content;
  throw refusal(answer.status, content, answer.headers.get("Retry-After"));
}

/** PUT a file and tell of its progress: onProgress(sentBytes, totalBytes). Raises ApiError, or AbortError. */
export function upload(path, file, { headers = {}, onProgress = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("PUT", path);
    const sent = { "Content-Type": "application/octet-stream", ...csrfHeader("PUT"), ...headers };
    for (const [name, value] of Object.entries(sent)) call.setRequestHeader(name, value);
    call.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    call.onerror = () => reject(new ApiError(0));
    call.onabort = () => reject(new DOMException("the upload was cancelled", "AbortError"));
    call.onload = () => {
      const content = parseJson(call.responseText);
      if (call.status >= 200 && call.status < 300) resolve(content);
      else reject(refusal(call.status, content, call.getResponseHeader("Retry-After")));
    };
    signal?.addEventListener("abort", () => call.abort());
    call.send(file);
  });
}

function csrfHeader(method) {
  return method === "GET" || !access.csrfToken ? {} : { "X-CSRF-Token": access.csrfToken };
}

async function read(answer, parse) {
  if (answer.status === 204 || answer.status === 304) return null;
  const type = answer.headers.get("Content-Type") ?? "";
  if (/json/.test(type)) return (answer.ok ? parse : parseJson)(await answer.text());
  return answer.ok ? answer.blob() : {};
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function refusal(status, problem, retryAfter) {
  if (status === 401) access.onUnauthorized();
  return new ApiError(status, problem ?? {}, retryAfter ? Number(retryAfter) : null);
}
