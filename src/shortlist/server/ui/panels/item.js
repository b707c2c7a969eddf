// One item: all that is stored of it, and the items whose vectors lie nearest.

import { get, identity, latest } from "../api.js";
import { h, uid } from "../dom.js";
import { nameOf, whole } from "../format.js";
import { stateful } from "../states.js";
import { declare } from "../store.js";
import { combobox } from "../widgets/combobox.js";
import { itemCell } from "../widgets/item.js";
import { isStatistic, share, shown } from "./values.js";
import { whichBundle } from "../widgets/which.js";

export const title = "Item";

declare({ simK: "10" });

const LENGTHS = ["10", "20", "50"];

export async function mount(element, context) {
  const [runItem, runSimilar] = [latest(context.signal), latest(context.signal)];
  const about = h("div", { class: "item-about" });
  const near = h("div", { class: "item-near" });
  const [aboutView, nearView] = [stateful(about, "the item"), stateful(near, "similar items")];
  const heading = uid("similar");
  const length = lengthField(context);
  const similarCard = h("section", { class: "panel stack", "aria-labelledby": heading }, h("div", { class: "item-head" }, h("h2", { id: heading }, "Similar items"), length.element), near);

  /** moved: another item was chosen on this page. */
  async function loadItem({ moved = false } = {}) {
    const { item, side } = context.state;
    similarCard.hidden = !item;
    if (!item) {
      document.title = `${title} · Shortlist`;
      aboutView.empty("No item is chosen", "Search for one above, or choose one in the catalogue.", h("a", { class: "button", href: context.link("catalogue") }, "Open the catalogue"));
      return;
    }
    aboutView.loading({ rows: 5 });
    try {
      const row = await runItem((signal) => get(`v1/items/${identity(item)}`, { side }, { signal }));
      if (row !== undefined) showItem(row, moved);
    } catch (error) {
      if (error.status === 404) {
        similarCard.hidden = true;
        aboutView.empty("The catalogue has no such item", error.message, h("a", { class: "button", href: context.link("catalogue") }, "Open the catalogue"));
      } else aboutView.error(error, () => loadItem({ moved }));
    }
  }

  function showItem(row, moved) {
    const bundle = context.bundle();
    const name = nameOf(row, bundle);
    document.title = `${name} · Shortlist`;
    const heading = h("h2", { class: "item-name", tabindex: -1 }, name);
    const rest = Object.entries(row).filter(([column]) => column !== bundle.name_column && !isStatistic(column, bundle));
    aboutView.show(
      heading,
      h(
        "dl",
        { class: "item-columns" },
        rest.map(([column, value]) => [h("dt", null, column), h("dd", { class: column === "item_id" ? "mono" : null }, shown(value))]),
        popularity(row, bundle),
      ),
      h(
        "div",
        { class: "row" },
        bundle.has?.map !== false && h("a", { class: "button", href: context.link("map", { item: row.item_id }) }, "Show on the map"),
        h("a", { class: "button", href: context.link("shortlist", { user: "", with: [row.item_id], rated: [], without: [] }) }, "Shortlist of somebody who had only this"),
      ),
      whichBundle(context),
    );
    if (!moved || about.parentElement.querySelector(".item-find").contains(document.activeElement)) return;
    window.scrollTo(0, 0); // a link of the list below led here
    heading.focus({ preventScroll: true });
  }

  async function loadSimilar() {
    const { item, side, simK } = context.state;
    if (!item) return;
    nearView.loading({ rows: 8 });
    try {
      const columns = context.bundle().item_columns ?? [];
      const asked = { k: LENGTHS.includes(simK) ? simK : LENGTHS[0], item_columns: columns, side };
      const found = await runSimilar((signal) => get(`v1/items/${identity(item)}/similar`, asked, { signal }));
      if (found === undefined) return;
      if (found.items.length) nearView.show(similarTable(found.items, context));
      else nearView.empty("Nothing is like this item", "The catalogue has no other items.");
    } catch (error) {
      nearView.error(error, loadSimilar);
    }
  }

  element.append(h("div", { class: "stack" }, h("div", { class: "panel stack" }, finder(context), about), similarCard));
  const stop = context.subscribe((_, changed) => {
    if (changed.has("item") || changed.has("side")) loadItem({ moved: changed.has("item") });
    if (["item", "side", "simK"].some((name) => changed.has(name))) loadSimilar();
  });
  loadItem();
  loadSimilar();
  return stop;
}

function popularity(row, bundle) {
  if (!isStatistic("popularity", bundle) || typeof row.popularity !== "number") return null;
  const place = isStatistic("popularity_rank", bundle) && row.popularity_rank ? `, rank ${whole(row.popularity_rank)} of ${whole(bundle.items)}` : "";
  return [h("dt", null, "popularity"), h("dd", null, share(row.popularity), h("span", { class: "muted" }, ` of what people did in training${place}`))];
}

function finder(context) {
  const search = async (text, after, signal) => {
    const page = await get("v1/items", { q: text, after, limit: 20, side: context.state.side }, { signal });
    return { rows: page.rows.map((row) => ({ id: row.item_id, label: nameOf(row, context.bundle()), note: row.item_id })), next: page.next };
  };
  return h("div", { class: "item-find" }, combobox({ label: "Find an item", search, keep: false, onpick: (row) => context.set({ item: row.id }, { push: true }), signal: context.signal }));
}

function lengthField(context) {
  const id = uid("similar-k");
  const select = h("select", { class: "select", id, onchange: () => context.set({ simK: select.value }) }, LENGTHS.map((n) => h("option", { value: n }, n)));
  select.value = LENGTHS.includes(context.state.simK) ? context.state.simK : LENGTHS[0];
  return { element: h("div", { class: "field item-length" }, h("label", { for: id }, "How many"), select) };
}

function similarTable(rows, context) {
  const line = (row) =>
    h(
      "tr",
      null,
      h("td", { class: "number" }, String(row.rank)),
      h("th", { scope: "row" }, itemCell(context, row)),
      h("td", { class: "number" }, row.score.toFixed(3), h("span", { class: "meter item-meter", "aria-hidden": "true", style: { "--value": Math.max(0, row.score) } })),
    );
  return h(
    "table",
    { class: "table item-similar" },
    h("caption", { class: "visually-hidden" }, "Similar items, the nearest first"),
    h("thead", null, h("tr", null, h("th", { scope: "col", class: "number" }, "Rank"), h("th", { scope: "col" }, "Item"), h("th", { scope: "col", class: "number" }, "Cosine"))),
    h("tbody", null, rows.map(line)),
  );
}
