import { useState } from "preact/hooks";

import { notify } from "../../components/toast.js";
import { html } from "../../html.js";
import { submitAgain } from "../../receipts/replay.js";
import { navigate } from "../../router.js";

/** Submits job `id` again, unchanged, and goes to the new job. */
export function SameAgain({ id, className = "button" }) {
  const [isBusy, setBusy] = useState(false);
  const submit = async () => {
    setBusy(true);
    try {
      navigate("job", (await submitAgain(id)).id);
    } catch (error) {
      notify(`The job was not submitted again: ${error.detail}`, "bad");
    }
    setBusy(false);
  };
  return html`<button type="button" class=${className} disabled=${isBusy} onClick=${submit}>Same again</button>`;
}
