const PREFIX = "swiftdiffusion.";
/** Names of what is kept: the jobs that the tab has submitted, and whose they are. */
export const SUBMITTED = "submitted", TENANT = "tenant";

/** What this tab has kept under a name, through reloads; `null` where there is nothing, or storage is forbidden. */
export function readTab(name) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name));
  } catch {
    return null;
  }
}

/** Keep a value of JSON while the tab is open; `null` removes it. */
export function writeTab(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(PREFIX + name);
    else sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // storage is forbidden: what it keeps is gone when the page is loaded again
  }
}
