import { useEffect, useState } from "preact/hooks";

import { CopyButton } from "../../components/copy_button.js";
import { html } from "../../html.js";
import { readExactJob } from "../../receipts/replay.js";
import { requestOf } from "../../receipts/request_of.js";
import { session } from "../../session.js";
import { curlOf } from "./curl.js";

/** A job with its numbers as they stand in the API's answer; `null` until it is read. Read once its status is known, and
 * again with each other one. */
export function useExactJob(id, status) {
  const [exact, setExact] = useState(null);
  useEffect(() => {
    if (!status) return undefined;
    const abort = new AbortController();
    readExactJob(id, abort.signal).then(setExact, () => {}); // the view itself says what is wrong
    return () => abort.abort();
  }, [id, status]);
  return exact;
}

/** What submits the same job from a shell. */
export function RequestPanel({ exact }) {
  const address = new URL("v1/jobs", document.baseURI).href;
  const text = curlOf(requestOf(exact), { address, isKeyed: session.value?.auth === "keys" });
  return html`<${Panel} title="Request as curl" label="curl command" text=${text} />`;
}

/** The receipt of a job's images. */
export function ReceiptPanel({ exact }) {
  const text = JSON.stringify(exact.receipt, null, 2);
  const save = () => saveText(text, `${exact.id}-receipt.json`);
  return html`<${Panel} title="Receipt" label="Receipt" text=${text}>
    <button type="button" class="button button-small" onClick=${save}>Download</button>
  </>`;
}

function Panel({ title, label, text, children }) {
  return html`<section class="card stack">
    <div class="panel-header">
      <h2>${title}</h2>
      <div class="row">${children}<${CopyButton} text=${text} /></div>
    </div>
    <pre class="panel-text" tabindex="0" role="region" aria-label=${label}>${text}</pre>
  </section>`;
}

function saveText(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 0);
}
