import { signal } from "@preact/signals";

/** Where the page is: {view, arg, query}; `view` is what the address says, `query` an object of strings. */
export const route = signal(parse(""));

/** The address of a view, for links: href("job", id), href("generate", "", {from: id}). */
export function href(view, arg = "", query = {}) {
  const path = arg ? `${view}/${encodeURIComponent(arg)}` : view;
  const text = new URLSearchParams(query).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** Go to a view, as a link to it does. */
export function navigate(view, arg = "", query = {}) {
  location.hash = href(view, arg, query);
}

/** Keep `route` as the address of the page says. */
export function startRouter() {
  const read = () => (route.value = parse(location.hash));
  addEventListener("hashchange", read);
  read();
}

function parse(hash) {
  const [path, text = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, arg = ""] = path.split("/");
  return {
    view,
    arg: decode(arg),
    query: Object.fromEntries(new URLSearchParams(text)),
  };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a % that begins no escape
  }
}
