import { useEffect, useMemo, useRef } from "preact/hooks";

import { html } from "../../html.js";

/** What came of comparing an image with the one that was generated again. */
export function Comparison({ outcome: { again, result }, image }) {
  const url = useMemo(() => URL.createObjectURL(again), [again]);
  useEffect(() => () => URL.revokeObjectURL(url), [url]);
  const isEqual = result.isSameFile || result.largest === 0;
  return html`
    <div class="notice ${isEqual ? "notice-ok" : "notice-bad"}">
      <p><strong>${isEqual ? "Equal" : "Different"}</strong></p>
      <p>${sentence(result)}</p>
    </div>
    <div class="verify-images">
      <figure><img src=${image.url} alt="Your image" /><figcaption class="muted">Yours</figcaption></figure>
      <figure><img src=${url} alt="The image as it is generated now" /><figcaption class="muted">Generated now</figcaption></figure>
      ${!isEqual && result.difference && html`<figure><${Difference} data=${result.difference} /><figcaption class="muted">Where they differ</figcaption></figure>`}
    </div>
  `;
}

function sentence(result) {
  if (result.isSameFile) return "The file is the same, byte for byte.";
  if (result.sizes) {
    const [yours, now] = result.sizes.map(([width, height]) => `${width} × ${height}`);
    return `Your image has ${yours} pixels, its receipt gives ${now}.`;
  }
  const size = `${result.width} × ${result.height}`;
  if (result.largest === 0) return `All ${size} pixels are the same; the file around them is not.`;
  const share = (100 * result.share).toFixed(result.share < 0.01 ? 3 : 1);
  return `${share} % of ${size} pixels differ, by at most ${result.largest} of 255; PSNR ${result.psnrDb.toFixed(1)} dB.`;
}

function Difference({ data }) {
  const canvas = useRef(null);
  useEffect(() => canvas.current.getContext("2d").putImageData(data, 0, 0), [data]);
  return html`<canvas ref=${canvas} width=${data.width} height=${data.height} role="img" aria-label="Difference of the two images"></canvas>`;
}
