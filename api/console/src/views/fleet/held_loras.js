/** The version of a LoRA in what a worker holds for a model: MODEL@VERSION, of which VERSION is NAME@PLACE@ETAG. */
export function versionOf(held) {
  return held.split("@").slice(-3).join("@");
}

/** The names of the LoRAs that a worker has in its weights and in memory. */
export function heldLoras(fleet, worker) {
  const inventory = fleet.lora_inventory.find((one) => one.worker === worker);
  const names = (held) => [...new Set(held.map((one) => versionOf(one).split("@")[0]))].sort();
  return { patched: names(inventory?.patched ?? []), memory: names(inventory?.memory ?? []) };
}

/** By version, who has it: {patched: [worker], memory: [worker], disk: [host]}. */
export function holdersByVersion(fleet) {
  const holders = new Map();
  const add = (version, tier, who) => {
    if (!holders.has(version)) holders.set(version, { patched: [], memory: [], disk: [] });
    const found = holders.get(version)[tier];
    if (!found.includes(who)) found.push(who);
  };
  for (const { worker, patched, memory } of fleet?.lora_inventory ?? []) {
    for (const held of patched) add(versionOf(held), "patched", worker);
    for (const held of memory) add(versionOf(held), "memory", worker);
  }
  for (const [host, versions] of Object.entries(fleet?.lora_disk_cache ?? {})) {
    for (const version of versions) add(version, "disk", host);
  }
  return holders;
}
