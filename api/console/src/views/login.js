import { useState } from "preact/hooks";

import { Field } from "../components/field.js";
import { html } from "../html.js";
import { login } from "../session.js";

/** Asks for an API key; after that the page is where it was. */
export function LoginView() {
  const [key, setKey] = useState("");
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await login(key.trim());
    } catch (refused) {
      setError(refused.retryAfterS ? `${refused.detail}; try again in ${refused.retryAfterS} s` : refused.detail);
      setBusy(false);
    }
  };
  return html`<main class="alone">
    <form class="login" onSubmit=${submit}>
      <h1>swiftdiffusion</h1>
      <${Field}
        label="API key" error=${error}
        hint="It is sent once; a cookie of this browser takes its place. The first key is shown when the fleet starts."
      >
        <input
          type="password" value=${key} autocomplete="current-password" spellcheck=${false} required autofocus
          placeholder="swk_…" onInput=${(event) => setKey(event.target.value)}
        />
      </>
      <button type="submit" class="button button-primary" disabled=${isBusy || !key.trim()}>Log in</button>
    </form>
  </main>`;
}
