import { useState } from "preact/hooks";

import { confirm } from "../../components/dialog.js";
import { notify } from "../../components/toast.js";
import { html } from "../../html.js";
import { cancelJob, deleteJob, isLive } from "../../jobs.js";
import { submitReceipt } from "../../receipts/replay.js";
import { href, navigate } from "../../router.js";

/** What can be done with a job. */
export function Actions({ job, exact, onChange }) {
  const [isBusy, setBusy] = useState(false);
  const busy = (act) => async () => {
    setBusy(true);
    await act();
    setBusy(false);
  };
  const cancel = busy(async () => {
    await cancelJob(job.id);
    await onChange();
  });
  const remove = busy(async () => {
    const text = "Its images, its receipt and its record are removed for good. Images that you have saved stay as they are.";
    const isSure = await confirm({ title: "Delete this job?", text, label: "Delete", isDangerous: true });
    if (isSure && (await deleteJob(job.id))) {
      notify("The job is deleted.", "ok");
      navigate("gallery");
    }
  });
  const replay = busy(async () => {
    try {
      navigate("job", (await submitReceipt(exact.receipt)).id);
    } catch (error) {
      notify(`The receipt was refused: ${error.detail}`, "bad");
    }
  });
  return html`
    ${isLive(job.status) && html`<button type="button" class="button button-bad" disabled=${isBusy} onClick=${cancel}>Cancel</button>`}
    <a class="button" href=${href("generate", "", { from: job.id })}>Same again</a>
    ${exact?.receipt && html`<button type="button" class="button" disabled=${isBusy} onClick=${replay}>Again from the receipt</button>`}
    ${!isLive(job.status) && html`<button type="button" class="button button-bad" disabled=${isBusy} onClick=${remove}>Delete</button>`}
  `;
}
