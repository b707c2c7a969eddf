// A stored value as a cell: texts, numbers, lists of texts, nothing; and links to items.

import { h } from "../dom.js";
import * as format from "../format.js";
import { tagList } from "../widgets/item.js";

/** A value to be read. */
export function shown(value) {
  if (value === null || value === undefined || value === "") return h("span", { class: "muted" }, "none");
  if (Array.isArray(value)) {
    if (!value.length) return h("span", { class: "muted" }, "none");
    return tagList(value.map(plain));
  }
  return plain(value);
}

/** A value as text; "none" where there is none. */
export function plain(value) {
  return format.plain(value) || "none";
}

/** Whether a field of an item's row is the server's own and no column of the catalogue: how popular the item is. */
export function isStatistic(name, bundle) {
  return (name === "popularity" || name === "popularity_rank") && !bundle.item_columns.includes(name);
}

/** A share as a percentage. */
export function share(value) {
  return typeof value === "number" ? `${(100 * value).toFixed(2)} %` : shown(value);
}

/** Whether all values of a column are numbers, so that it stands to the right. */
export function numeric(rows, name) {
  const values = rows.map((row) => row[name]).filter((value) => value !== null && value !== undefined);
  return values.length > 0 && values.every((value) => typeof value === "number");
}

/** A link to an item. */
export function itemLink(context, id, text) {
  return h("a", { href: context.link("item", { item: id }) }, text);
}
