// A stored value as a cell: texts, numbers, lists of texts, nothing; and links to items.

import { h } from "../dom.js";
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

/** A value as text. */
export function plain(value) {
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(6)));
  return String(value);
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
