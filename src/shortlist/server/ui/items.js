// Rows of items by their ids, asked for once: titles of a history, of films a person picked.

import { get } from "./api.js";

const MOST = 200; // ids asked for by one call
const known = new Map(); // side, id -> row, or null where the catalogue has none

/**
 * Map of id -> row of items; those the catalogue has not are left out. side: of which bundle, "" for the first.
 */
export async function itemsByIds(ids, { side = "", signal } = {}) {
  const missing = [...new Set(ids)].filter((id) => !known.has(`${side} ${id}`));
  for (let n = 0; n < missing.length; n += MOST) {
    const asked = missing.slice(n, n + MOST);
    for (const [id, row] of await lookUp(asked, side, signal)) known.set(`${side} ${id}`, row);
  }
  return new Map(ids.map((id) => [id, known.get(`${side} ${id}`)]).filter(([, row]) => row));
}

/** Rows of items that are there already, for `itemsByIds` not to ask for. */
export function remember(rows, side = "") {
  for (const row of rows) known.set(`${side} ${row.item_id}`, row);
}

/** What bundle answers may change: forget everything. */
export function forget() {
  known.clear();
}

async function lookUp(ids, side, signal) {
  const found = new Map(ids.map((id) => [id, null]));
  for (const row of (await get("v1/items", { ids, side }, { signal })).rows) found.set(row.item_id, row);
  return found;
}
