import { signal } from "@preact/signals";

import { request } from "../../api.js";
import { notify } from "../../components/toast.js";

const PAGE = 500;
/** Headers that are read at once, of LoRAs of which the list says nothing yet. */
const AT_ONCE = 3;

/** The list as it was read last: {list: [LoRA] | null, cursor, error}. */
export const loras = signal({ list: null, cursor: null, error: null });

/** The path of a LoRA in the API. */
export function loraPath(name) {
  return `v1/loras/${encodeURIComponent(name)}`;
}

/** Whether the user has a LoRA of this name of its own, which an upload replaces. */
export function findOwn(name, tenant) {
  return (loras.value.list ?? []).find((one) => one.name === name && isOwn(one, tenant));
}

/** Whether a LoRA is the tenant's to replace and delete: public ones are the tenant `local`'s. */
export function isOwn(lora, tenant) {
  return lora.public === (tenant === "local");
}

/** Read the list, as much of it as was read before. */
export async function loadLoras() {
  const count = Math.max(PAGE, loras.value.list?.length ?? 0);
  await read("", [], Math.min(count, 1000));
}

/** Read the next page of the list. */
export async function loadMoreLoras() {
  await read(loras.value.cursor, loras.value.list, PAGE);
}

/** Delete a LoRA, and say so. */
export async function deleteLora(name) {
  try {
    await request(loraPath(name), { method: "DELETE" });
    notify(`LoRA '${name}' is deleted`, "ok");
  } catch (error) {
    notify(error.detail, "bad");
  }
  await loadLoras();
}

async function read(cursor, before, limit) {
  const query = new URLSearchParams({ limit, ...(cursor && { cursor }) });
  try {
    const page = await request(`v1/loras?${query}`);
    loras.value = { list: [...before, ...page.loras], cursor: page.next_cursor, error: null };
    readHeaders();
  } catch (error) {
    loras.value = { ...loras.value, error };
  }
}

/** Have the API read the headers that nobody has asked for lately: they tell the family, and what is wrong. */
async function readHeaders() {
  const { list } = loras.value;
  const unread = list.filter((one) => one.rank === null && !one.problem);
  const work = async () => {
    for (let one = unread.shift(); one && loras.value.list === list; one = unread.shift()) {
      try {
        const { family, rank, problem } = await request(loraPath(one.name));
        Object.assign(one, { family, rank, problem });
      } catch (error) {
        if (error.status !== 404) return; // limited, or away: the list stands as it is
      }
    }
  };
  if (!unread.length) return;
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (loras.value.list === list) loras.value = { ...loras.value };
}
