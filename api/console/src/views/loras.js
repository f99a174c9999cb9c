import { useEffect, useMemo, useState } from "preact/hooks";

import { Empty, LoadError } from "../components/empty.js";
import { Field } from "../components/field.js";
import { Page } from "../components/page.js";
import { plural } from "../format.js";
import { html } from "../html.js";
import { useResource } from "../resource.js";
import { may } from "../session.js";
import { holdersByVersion } from "./fleet/held_loras.js";
import { LoraDialog } from "./loras/details.js";
import { LoraTable, UnusableTable } from "./loras/lists.js";
import { loadLoras, loras, loadMoreLoras } from "./loras/store.js";
import { Uploads } from "./loras/uploads.js";

/** The LoRAs that the user may use, where they are cached, and uploads of more. */
export function LorasView({ query }) {
  const [search, setSearch] = useState(query.search ?? "");
  const [shown, setShown] = useState(null);
  const fleet = useResource(may("fleet") ? "v1/fleet" : null, { everyMs: 5000 });
  const holders = useMemo(() => holdersByVersion(fleet.data), [fleet.data]);
  useEffect(() => void loadLoras(), []);

  const { list, error, cursor } = loras.value;
  const found = (list ?? []).filter((one) => one.name.toLowerCase().includes(search.trim().toLowerCase()));
  const usable = found.filter((one) => !one.problem);
  const unusable = found.filter((one) => one.problem);
  return html`<${Page} title="LoRAs" className="loras">
    ${may("loras") && html`<${Uploads} />`}
    ${error && !list && html`<${LoadError} error=${error} onRetry=${loadLoras} />`}
    ${!list && !error && html`<p class="muted">Reading the list …</p>`}
    ${list?.length === 0 && html`<${NoLoras} />`}
    ${list?.length > 0 &&
    html`
      <div class="lora-search">
        <${Field} label="Search by name">
          <input type="search" value=${search} onInput=${(event) => setSearch(event.target.value)} />
        </>
        <p class="muted" aria-live="polite">${plural(usable.length, "LoRA")}${search && ` of ${list.length} objects`}</p>
      </div>
      ${usable.length > 0
        ? html`<${LoraTable} rows=${usable} holders=${holders} knowsHolders=${fleet.data !== null} onShow=${setShown} />`
        : html`<p class="muted">No LoRA has this in its name.</p>`}
      ${cursor && html`<div><button type="button" class="button" onClick=${loadMoreLoras}>Read more of the list</button></div>`}
      ${unusable.length > 0 && html`<${UnusableTable} rows=${unusable} />`}
    `}
    ${shown && html`<${LoraDialog} lora=${shown} holders=${holders.get(shown.version)} onClose=${() => setShown(null)} />`}
  </>`;
}

function NoLoras() {
  return html`<${Empty} title="There are no LoRAs yet">
    <p>Drop a <code>.safetensors</code> file above, or put one into the bucket with any S3 client: it appears here.</p>
  </>`;
}
