// How an item stands in a list: its name, which leads to all that is known of it, and its columns below.

import { h } from "../dom.js";
import { details, nameOf } from "../format.js";

/** Name and columns of an item's row. except: columns that are shown elsewhere. */
export function itemCell(context, row, bundle = context.bundle(), { except = [] } = {}) {
  const below = details(row, bundle, except);
  const name = nameOf(row, bundle);
  return h(
    "div",
    { class: "item-cell" },
    h("a", { class: "item-cell-name", href: context.link("item", { item: row.item_id }), title: name }, name),
    below && h("span", { class: "muted small item-cell-below" }, below),
  );
}

/** Values of a list as tags. */
export function tagList(values) {
  return h("ul", { class: "tags" }, values.map((value) => h("li", { class: "tag" }, value)));
}
