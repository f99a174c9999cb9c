import { CopyButton } from "../../components/copy_button.js";
import { Dialog } from "../../components/dialog.js";
import { html } from "../../html.js";
import { session } from "../../session.js";

/** Says what tenants and keys are for while authentication is off. */
export function AuthOffNotice() {
  if (session.value.auth !== "off") return null;
  return html`<div class="notice"><p>
    Authentication is off: everybody may do everything, as the tenant <strong>local</strong>. Keys and limits take effect when
    the API runs with <code>SWIFT_AUTH=keys</code>.
  </p></div>`;
}

/** A secret that is shown this once. `text` says what it is for. */
export function SecretDialog({ title, secret, text, onClose }) {
  const footer = html`<button type="button" class="button" onClick=${onClose}>Done</button>`;
  return html`<${Dialog} title=${title} onClose=${onClose} footer=${footer}>
    <p>${text}</p>
    <div class="secret">
      <code>${secret}</code>
      <${CopyButton} text=${secret} />
    </div>
  </>`;
}
