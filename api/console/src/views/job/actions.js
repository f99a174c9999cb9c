import { useState } from "preact/hooks";

import { confirm } from "../../components/dialog.js";
import { notify } from "../../components/toast.js";
import { html } from "../../html.js";
import { cancelJob, deleteJob, isLive } from "../../jobs.js";
import { href, navigate } from "../../router.js";
import { SameAgain } from "./same_again.js";

/** What can be done with a job. */
export function Actions({ job, onChange }) {
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
  return html`
    ${isLive(job.status) && html`<button type="button" class="button button-bad" disabled=${isBusy} onClick=${cancel}>Cancel</button>`}
    <${SameAgain} id=${job.id} />
    <a class="button" href=${href("generate", "", { from: job.id })}>Edit</a>
    ${!isLive(job.status) && html`<button type="button" class="button button-bad" disabled=${isBusy} onClick=${remove}>Delete</button>`}
  `;
}
