import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { request } from "../../api.js";
import { FileDrop } from "../../components/file_drop.js";
import { html } from "../../html.js";
import { imageUrl } from "../../jobs.js";
import { readReceipt } from "../../receipts/read_receipt.js";
import { asText } from "../../receipts/exact_json.js";
import { navigate } from "../../router.js";
import { Replay } from "./replay.js";

/** Reads the receipt of an image, and generates it again to compare the two. `chosen`: "JOB-N" of the gallery. */
export function Verify({ chosen }) {
  const [image, setImage] = useState(null); // {name, blob, url}
  const [found, setFound] = useState(null); // {receipt, …} or {error}
  const heading = useRef(null);

  const take = async (blob, name) => {
    setFound(null);
    setImage({ name, blob, url: URL.createObjectURL(blob) });
    setFound(await readReceipt(blob).catch((error) => ({ error: error.message })));
  };
  useEffect(() => () => image && URL.revokeObjectURL(image.url), [image]);
  useLayoutEffect(() => {
    const [, id, n] = /^([0-9a-f]{16})-([0-9]+)$/.exec(chosen ?? "") ?? [];
    if (!id) return;
    heading.current.focus(); // the tile whose link was followed may be far down
    request(imageUrl(id, n), { headers: { Accept: "image/*" } })
      .then((blob) => take(blob, `image ${Number(n) + 1} of job ${id}`))
      .catch((error) => setFound({ error: error.detail ?? error.message }));
  }, [chosen]);
  const close = () => {
    setImage(null);
    setFound(null);
    if (chosen) navigate("gallery");
  };

  return html`<section class="card stack verify" aria-labelledby="verify-title">
    <div class="panel-header">
      <h2 ref=${heading} id="verify-title" tabindex="-1">Verify an image</h2>
      ${(image || found) && html`<button type="button" class="button button-small" onClick=${close}>Close</button>`}
    </div>
    <${FileDrop}
      label="Drop an image here" accept="image/png,image/jpeg,image/webp" onFiles=${([file]) => take(file, file.name)}
      hint="A PNG, JPEG or WebP that a fleet has generated: its receipt is read here, and the image generated again and compared."
    />
    ${found?.error && html`<div class="notice notice-bad" role="alert"><p><strong>Not verified</strong></p><p>${found.error}.</p></div>`}
    ${image && found?.receipt && html`<div class="verify-found" key=${image.url}>
      <figure class="verify-image"><img src=${image.url} alt="The image to verify" /><figcaption class="muted">${image.name}</figcaption></figure>
      <div class="stack">
        <${Summary} found=${found} />
        <${Replay} found=${found} image=${image} />
      </div>
    </div>`}
  </section>`;
}

function Summary({ found: { receipt, index, format } }) {
  const { spec = {}, worker = {} } = receipt;
  const named = (list) => (list ?? []).map(({ name, sha256 }) => `${name} (${String(sha256).slice(0, 12)})`).join(", ");
  const versions = Object.entries(worker?.versions ?? {}).map(([name, version]) => `${name} ${asText(version)}`).join(", ");
  const rows = [
    ["Prompt", asText(spec.prompt)],
    ["Model", `${asText(spec.model)} (${asText(receipt.model_sha256).slice(0, 12)})`],
    ["Image", `${asText(spec.width)} × ${asText(spec.height)}, ${format.toUpperCase()}, image ${index + 1} of its job`],
    ["Steps", `${asText(spec.num_inference_steps)}, ${asText(spec.scheduler)}`],
    ["Seed", asText(spec.seeds ?? spec.seed)],
    ["ControlNets", named(receipt.controlnets)],
    ["LoRAs", named(receipt.loras)],
    ["Computed on", [asText(worker?.device), versions].filter(Boolean).join(": ")],
  ];
  return html`<dl class="facts">
      ${rows.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
    <details>
      <summary>The whole receipt</summary>
      <pre class="panel-text" tabindex="0" role="region" aria-label="Receipt">${JSON.stringify(receipt, null, 2)}</pre>
    </details>`;
}
