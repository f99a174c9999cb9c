import { signal } from "@preact/signals";

export const THEMES = ["auto", "light", "dark"];
const KEY = "swiftdiffusion.theme";

/** The colours that the user wants: "auto" (the system's), "light" or "dark". */
export const theme = signal("auto");

/** Apply what the user chose last. */
export function startTheme() {
  let kept = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    // storage is forbidden: nothing is kept
  }
  apply(THEMES.includes(kept) ? kept : "auto");
}

/** Choose colours, for this browser. */
export function chooseTheme(name) {
  apply(name);
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // storage is forbidden: the choice holds for this page
  }
}

function apply(name) {
  theme.value = name;
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}
