import { useEffect, useLayoutEffect, useState } from "preact/hooks";

import { Confirmation } from "./components/dialog.js";
import { Shortcuts, showShortcuts } from "./components/shortcuts.js";
import { Toasts, notify } from "./components/toast.js";
import { connection, onEvent, startEvents, stopEvents } from "./events.js";
import { html } from "./html.js";
import { href, route } from "./router.js";
import { logout, may, session } from "./session.js";
import { THEMES, chooseTheme, theme } from "./theme.js";
import { KeysView } from "./views/admin/keys.js";
import { TenantsView } from "./views/admin/tenants.js";
import { WebhooksView } from "./views/admin/webhooks.js";
import { FleetView } from "./views/fleet.js";
import { GalleryView } from "./views/gallery.js";
import { GenerateView } from "./views/generate/generate.js";
import { JobView } from "./views/job.js";
import { LoginView } from "./views/login.js";
import { LorasView } from "./views/loras.js";
import { QueueView } from "./views/queue.js";

/** Views by their name in the address: the component, what the navigation calls it, and the scope that it needs. */
const VIEWS = {
  generate: { view: GenerateView, label: "Generate", scope: "jobs" },
  gallery: { view: GalleryView, label: "Gallery", scope: "jobs" },
  queue: { view: QueueView, label: "Queue", scope: "jobs" },
  job: { view: JobView, scope: "jobs" },
  loras: { view: LorasView, label: "LoRAs", scope: "loras" },
  fleet: { view: FleetView, label: "Fleet", scope: "fleet" },
  webhooks: { view: WebhooksView, label: "Webhooks", scope: "jobs" },
  tenants: { view: TenantsView, label: "Tenants", scope: "admin" },
  keys: { view: KeysView, label: "API keys", scope: "admin" },
};

/** The whole page. */
export function App() {
  const known = session.value;
  const key = known?.auth === "off" ? "off" : known?.key_id;
  useEffect(() => {
    if (!known || !may("jobs")) return undefined;
    const endNotice = onEvent("unauthorized", () => (session.value = null));
    startEvents();
    return () => {
      stopEvents();
      endNotice();
    };
  }, [key]);
  useLayoutEffect(() => {
    // A file that is dropped beside a target would replace the page.
    const ignore = (event) => event.preventDefault();
    for (const kind of ["dragover", "drop"]) addEventListener(kind, ignore);
  }, []);
  if (known === undefined) return html`<main class="alone" aria-busy="true"><p class="muted">Connecting to the API …</p></main>`;
  if (known === null) return html`<${LoginView} /><${Toasts} />`;
  const { view: name, arg, query } = route.value;
  const view = Object.hasOwn(VIEWS, name) ? name : "generate";
  const View = VIEWS[view].view;
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <div class="shell">
      <${Sidebar} current=${view} />
      <main id="main" tabindex="-1"><${View} key=${`${view}/${arg}`} arg=${arg} query=${query} /></main>
    </div>
    <${Toasts} /><${Confirmation} /><${Shortcuts} />
  `;
}

function Sidebar({ current }) {
  const [isOpen, setOpen] = useState(false);
  useLayoutEffect(() => setOpen(false), [current]); // later it would close a menu that was opened meanwhile
  const shown = Object.entries(VIEWS).filter(([, { label, scope }]) => label && may(scope));
  return html`<header class="sidebar ${isOpen ? "sidebar-open" : ""}">
    <div class="brand">
      <a href=${href("generate")}>swiftdiffusion</a>
      <button
        type="button" class="button menu-button" aria-expanded=${isOpen ? "true" : "false"} aria-controls="menu"
        onClick=${() => setOpen(!isOpen)}
      >
        Menu
      </button>
    </div>
    <div class="menu" id="menu">
      <nav aria-label="Views">
        <ul>
          ${shown.map(
            ([name, { label }]) => html`<li key=${name}>
              <a href=${href(name)} aria-current=${name === current ? "page" : undefined}>${label}</a>
            </li>`,
          )}
        </ul>
      </nav>
      <div class="sidebar-foot"><${Account} /><${ThemeSwitch} /><${Help} /></div>
    </div>
  </header>`;
}

function Account() {
  const { auth, tenant } = session.value;
  const end = () => logout().catch((error) => notify(error.detail, "bad"));
  return html`<div class="account">
    <p class="connection connection-${connection.value}" aria-live="polite">
      ${connection.value === "open" ? "Live" : "Connection lost"}
    </p>
    ${auth === "keys" &&
    html`<p class="muted">Tenant <strong>${tenant}</strong></p>
      <button type="button" class="button button-small" onClick=${end}>Log out</button>`}
  </div>`;
}

function ThemeSwitch() {
  return html`<fieldset class="segments">
    <legend class="visually-hidden">Colours</legend>
    ${THEMES.map(
      (name) => html`<label key=${name}>
        <input type="radio" name="theme" value=${name} checked=${theme.value === name} onChange=${() => chooseTheme(name)} />
        <span>${name}</span>
      </label>`,
    )}
  </fieldset>`;
}

function Help() {
  return html`<p class="help-links">
    <button type="button" class="link-button" onClick=${showShortcuts}>Shortcuts <kbd>?</kbd></button>
    <a href="docs/swagger">API</a>
  </p>`;
}

function skip(event) {
  event.preventDefault(); // the hash is the address of the view
  document.getElementById("main").focus();
}
