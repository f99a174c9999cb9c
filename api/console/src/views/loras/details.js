import { CopyButton } from "../../components/copy_button.js";
import { Dialog } from "../../components/dialog.js";
import { LoadError } from "../../components/empty.js";
import { formatBytes, formatDate } from "../../format.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";
import { CacheTags } from "./lists.js";
import { loraPath } from "./store.js";

/** Everything that is known of a LoRA. */
export function LoraDialog({ lora, holders, onClose }) {
  const { data, error, reload } = useResource(loraPath(lora.name));
  const known = data ?? lora;
  const facts = [
    ["Size", formatBytes(known.size_bytes)],
    ["Trained for", known.family ?? "unknown"],
    ["Rank", known.rank ?? "–"],
    ["Parts", data?.parts.join(", ") || "–"],
    ["Tensors", data?.tensors ?? "–"],
    ["Steps without it", data?.max_async_steps ?? "as the job says"],
    ["Embeddings, not applied", data?.embeddings.join(", ")],
    ["Changed", formatDate(known.modified)],
    ["SHA-256", data?.sha256 && html`<code>${data.sha256}</code>`],
    ["Cached", html`<${CacheTags} name=${lora.name} holders=${holders} />`],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  return html`<${Dialog}
    title=${lora.name} onClose=${onClose}
    footer=${html`<${CopyButton} text=${`<lora:${lora.name}:1>`} label="Copy tag" /><${CopyButton} text=${lora.name} label="Copy name" />`}
  >
    ${error && html`<${LoadError} error=${error} onRetry=${reload} />`}
    ${data?.problem && html`<p class="notice notice-warn">${data.problem}</p>`}
    <dl class="lora-facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
  </>`;
}
