// Popular items for somebody new to pick from, a few at a time.

import { get, latest } from "../../api.js";
import { h } from "../../dom.js";
import { details, nameOf } from "../../format.js";
import { remember } from "../../items.js";
import { stateful } from "../../states.js";

const PAGE = 10;

/** A list of popular items with buttons that add them: `put(id, name)`. `refresh()` hides those that were added. */
export function popularPicker(context, put) {
  const list = h("ol", { class: "pick-list" });
  const more = h("button", { type: "button", class: "button button-small", hidden: true, onclick: () => load(next) }, "More");
  const body = h("div", { class: "pick-body" });
  const view = stateful(body, "popular items");
  const run = latest(context.signal);
  let next = 0;

  async function load(after) {
    const { side } = context.bundle();
    const bundle = context.bundle();
    try {
      const found = await run((signal) => get("v1/items", { order: "popular", after, limit: PAGE, side }, { signal }));
      if (found === undefined) return;
      remember(found.rows, side);
      next = found.next;
      more.hidden = next === null;
      list.append(...found.rows.map((row) => line(row, bundle, put)));
      refresh();
      if (!list.firstChild) return view.empty("There are no items to pick from.");
      if (after === 0) view.show(h("h3", { class: "pick-title" }, "Popular"), list, more);
    } catch (error) {
      view.error(error, () => load(after));
    }
  }
  function refresh() {
    for (const one of list.children) one.hidden = context.state.with.includes(one.dataset.id);
    if (list.firstChild && ![...list.children].some((one) => !one.hidden) && next !== null) load(next);
  }

  view.loading({ rows: PAGE });
  load(0);
  return Object.assign(body, { refresh });
}

function line(row, bundle, put) {
  const name = nameOf(row, bundle);
  const below = details(row, bundle);
  return h(
    "li",
    { class: "pick", dataset: { id: row.item_id } },
    h("span", { class: "pick-name" }, name, below && [" ", h("span", { class: "muted small" }, below)]),
    h("button", { type: "button", class: "button button-small", "aria-label": `Add ${name}`, onclick: () => put(row.item_id, name) }, "Add"),
  );
}
