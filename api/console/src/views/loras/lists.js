import { confirm } from "../../components/dialog.js";
import { CopyButton } from "../../components/copy_button.js";
import { Table } from "../../components/table.js";
import { Tag, Tags } from "../../components/tag.js";
import { formatAgo, formatBytes } from "../../format.js";
import { html } from "../../html.js";
import { href } from "../../router.js";
import { may, session } from "../../session.js";
import { deleteLora, isOwn } from "./store.js";

const TIERS = { patched: ["in weights of", "accent"], memory: ["in memory of", "ok"], disk: ["on disk of", "muted"] };

/** The LoRAs that can be used. */
export function LoraTable({ rows, holders, knowsHolders, onShow }) {
  const name = (lora) => html`<button type="button" class="link-button breakable" onClick=${() => onShow(lora)}>${lora.name}</button>`;
  const columns = [
    { key: "name", label: "Name", isHeader: true, render: name },
    { key: "family", label: "Base", render: (lora) => lora.family ?? html`<span class="muted">unknown</span>` },
    { key: "size", label: "Size", align: "end", render: (lora) => formatBytes(lora.size_bytes) },
    { key: "rank", label: "Rank", align: "end", render: (lora) => lora.rank ?? "–" },
    { key: "owner", label: "Owner", render: ({ public: isPublic }) => html`<${Tag}>${isPublic ? "public" : "own"}</>` },
    { key: "modified", label: "Changed", render: (lora) => formatAgo(lora.modified) },
    ...(knowsHolders
      ? [{ key: "cached", label: "Cached", render: (lora) => html`<${CacheTags} name=${lora.name} holders=${holders.get(lora.version)} />` }]
      : []),
    { key: "actions", label: "Actions", align: "end", render: (lora) => html`<${Actions} lora=${lora} />` },
  ];
  return html`<${Table} caption="LoRAs" columns=${columns} rows=${rows} keyOf=${(lora) => lora.version} />`;
}

/** Where a LoRA is, fastest first. */
export function CacheTags({ name, holders }) {
  const tiers = Object.entries(TIERS).filter(([tier]) => holders?.[tier].length);
  return html`<${Tags} label="Where ${name} is cached" none="in S3 only">
    ${tiers.map(([tier, [text, kind]]) => html`<${Tag} key=${tier} kind=${kind} title=${holders[tier].join(", ")}>${text} ${few(holders[tier])}</>`)}
  </>`;
}

function few(names) {
  return names.length > 2 ? `${names[0]} and ${names.length - 1} others` : names.join(", ");
}

function Actions({ lora }) {
  return html`<div class="row lora-actions">
    ${may("jobs") && html`<a class="button button-small" href=${href("generate", "", { lora: lora.name })}>Use</a>`}
    <${CopyButton} text=${`<lora:${lora.name}:1>`} label="Copy tag" />
    <${DeleteButton} lora=${lora} />
  </div>`;
}

function DeleteButton({ lora }) {
  if (!may("loras") || !isOwn(lora, session.value.tenant)) return null;
  const ask = async () => {
    const isSure = await confirm({
      title: `Delete LoRA '${lora.name}'?`,
      text: "Its file is removed from the bucket. Jobs that wait for it fail with lora_gone unless a cache still holds it.",
      label: "Delete",
      isDangerous: true,
    });
    if (isSure) await deleteLora(lora.name);
  };
  return html`<button type="button" class="button button-small button-bad" aria-label="Delete ${lora.name}" onClick=${ask}>Delete</button>`;
}

/** Objects of the bucket that are no LoRA that the user may use, and why. */
export function UnusableTable({ rows }) {
  const columns = [
    { key: "name", label: "Object", isHeader: true, render: (lora) => html`<span class="breakable">${lora.name}</span>` },
    { key: "size", label: "Size", align: "end", render: (lora) => formatBytes(lora.size_bytes) },
    { key: "problem", label: "Why it cannot be used", render: (lora) => html`<span class="unusable-reason">${lora.problem}</span>` },
    // A name with a folder or a suffix is a key, by which the API deletes nothing.
    { key: "actions", label: "Actions", align: "end", render: (lora) => (/\/|\.\w+$/.test(lora.name) ? null : html`<${DeleteButton} lora=${lora} />`) },
  ];
  return html`<section class="stack" aria-labelledby="unusable">
    <h2 id="unusable">Objects that cannot be used</h2>
    <${Table} caption="Objects that cannot be used" columns=${columns} rows=${rows} keyOf=${(lora) => lora.name} />
  </section>`;
}
