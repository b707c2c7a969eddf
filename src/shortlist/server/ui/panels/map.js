// The map: item vectors on their two principal axes, coloured by a column. What is drawn is also told: the item
// looked at in words, and those in the middle of the view as a table.

import { get, latest } from "../api.js";
import { debounce, h, replace, uid } from "../dom.js";
import { nameOf, score, whole } from "../format.js";
import { stateful } from "../states.js";
import { declare } from "../store.js";
import { combobox } from "../widgets/combobox.js";
import { whichBundle } from "../widgets/which.js";
import { createCanvas } from "./map/canvas.js";
import { makeGroups } from "./map/groups.js";
import { legendMark } from "./map/mark.js";
import { itemLink, plain } from "./values.js";

export const title = "Map of the items";

declare({ mapBy: "" });

const MOST = 2000; // points
const LISTED = 12; // rows of the table

export async function mount(element, context) {
  const run = latest(context.signal);
  const place = h("div", { class: "map-place" });
  const view = stateful(place, "the map");
  let drawn = null;

  async function load() {
    const { side, item } = context.state;
    view.loading({ rows: 14 });
    try {
      const asked = { by: chosen(context), limit: MOST, item, side };
      const found = await run((signal) => get("v1/map", asked, { signal }));
      if (found !== undefined) show(found);
    } catch (error) {
      drawn?.stop();
      drawn = null;
      if (error.status === 404) view.empty("There is no map of this bundle", error.message);
      else view.error(error, load);
    }
  }

  function show(found) {
    if (!found.ids.length) {
      view.empty("There is nothing to map", "This catalogue has no items.");
      return;
    }
    const before = drawn;
    drawn = drawing(found, context, (by) => context.set({ mapBy: by }), (id) => context.set({ item: id }));
    view.show(drawn.element);
    before?.stop();
    drawn.start(before);
    context.announce(`${whole(found.shown)} items on the map`);
  }

  element.append(h("div", { class: "panel stack" }, place));
  const stop = context.subscribe((state, changed) => {
    if (changed.has("side") || changed.has("mapBy")) load();
    else if (changed.has("item") && state.item && !drawn?.find(state.item)) load();
  });
  load();
  return () => {
    stop();
    drawn?.stop();
  };
}

/** The columns that points can be coloured by, and the one that is. */
function colourable(context) {
  return (context.bundle().columns?.items ?? []).filter((one) => one.kind !== "text");
}

function chosen(context) {
  const columns = colourable(context);
  const { mapBy } = context.state;
  if (mapBy === "-") return "";
  if (columns.some((one) => one.name === mapBy)) return mapBy;
  const kinds = ["tags", "category", "flag", "number", "time"];
  return [...columns].sort((one, other) => kinds.indexOf(one.kind) - kinds.indexOf(other.kind))[0]?.name ?? "";
}

function drawing(found, context, onby, onitem) {
  const points = { ids: found.ids, names: found.ids.map((id, n) => found.names?.[n] || id), x: found.x, y: found.y };
  const groups = makeGroups(found.values, found.kind);
  groups.groups[0].count ||= groups.of.length ? 0 : found.ids.length;
  const hidden = new Set();
  const tip = h("div", { class: "map-tip", "aria-hidden": "true", hidden: true });
  const looked = h("p", { class: "map-looked" });
  const list = h("div", { class: "scroll-x map-list", tabindex: "0", role: "region", "aria-label": "Items in the middle of the view" });
  const relist = debounce((camera) => replace(list, table(points, found, groups, hidden, camera, context)), 150);

  const canvas = createCanvas(points, {
    label: `${whole(found.shown)} items${found.by ? `, coloured by ${found.by}` : ""}`,
    open: (n) => (location.hash = context.link("item", { item: points.ids[n] })),
    moved: relist,
    tell(n, box) {
      if (box === null) context.announce(`${points.names[n]}${value(found, n)}`);
      else tellLooked(n, box);
    },
  });
  canvas.element.append(tip);

  function tellLooked(n, box) {
    const there = n >= 0 && box.x >= 0 && box.y >= 0 && box.x <= box.width && box.y <= box.height;
    tip.hidden = !there;
    if (looked.dataset.at !== String(n)) {
      looked.dataset.at = String(n);
      const { item } = context.state;
      const missing = item && !points.ids.includes(item) && ["There is no item ", h("span", { class: "mono" }, item), " on this map. "];
      const text = n < 0 ? [missing, "Choose an item on the map to see its name."] : ["Here: ", itemLink(context, points.ids[n], points.names[n]), value(found, n)];
      replace(looked, text);
      replace(tip, n >= 0 && [h("strong", null, points.names[n]), found.by && h("span", null, `${found.by}: ${plain(found.values[n])}`)]);
    }
    if (!there) return;
    const [left, low] = [box.x > box.width / 2, box.y < box.height / 2];
    tip.style.setProperty("left", left ? "auto" : `${box.x + 16}px`);
    tip.style.setProperty("right", left ? `${box.width - box.x + 16}px` : "auto");
    const top = low ? box.y + 10 : box.y - tip.offsetHeight - 10;
    tip.style.setProperty("top", `${Math.max(4, Math.min(top, box.height - tip.offsetHeight - 4))}px`);
  }

  const repaint = () => {
    canvas.paint(groups, hidden);
    relist(canvas.camera);
  };
  const find = (id) => {
    const n = points.ids.indexOf(id);
    if (n >= 0) canvas.look(n, { near: 3, spoken: true });
    return n >= 0;
  };
  const element = h(
    "div",
    { class: "map-all" },
    controls(context, canvas, found, onby, (id) => {
      find(id);
      onitem(id);
    }),
    h("div", { class: "map-both" }, h("div", { class: "map-main" }, canvas.element, looked), legend(groups, found, hidden, repaint)),
    h("p", { class: "muted" }, described(found)),
    whichBundle(context),
    h("h2", null, "In the middle of the view"),
    list,
  );
  return {
    element,
    find,
    start(before) {
      repaint();
      if (context.state.item) find(context.state.item);
      if (before) element.querySelector(".map-by")?.focus({ preventScroll: true });
    },
    stop() {
      canvas.stop();
      relist.cancel();
    },
  };
}

function value(found, n) {
  return found.by ? ` – ${found.by}: ${plain(found.values[n])}` : "";
}

function described(found) {
  const which = found.chosen === "all" ? `All ${whole(found.total)} items` : `The ${whole(found.shown)} most popular of ${whole(found.total)} items`;
  const share = found.variance.reduce((sum, one) => sum + one, 0);
  return `${which}, by the two axes along which their vectors differ most. These hold ${(100 * share).toFixed(0)} % of the differences: items that are near each other here need not be near in all dimensions.`;
}

function controls(context, canvas, found, onby, onfind) {
  const id = uid("map-by");
  const select = h(
    "select",
    { class: "select map-by", id, onchange: () => onby(select.value) },
    h("option", { value: "-" }, "nothing"),
    colourable(context).map((one) => h("option", { value: one.name }, one.name)),
  );
  select.value = found.by || "-";
  const search = async (text, after, signal) => {
    const page = await get("v1/items", { q: text, after, limit: 20, side: context.state.side }, { signal });
    return { rows: page.rows.map((row) => ({ id: row.item_id, label: nameOf(row, context.bundle()), note: row.item_id })), next: page.next };
  };
  const button = (label, text, onclick) => h("button", { type: "button", class: "button", "aria-label": label, title: label, onclick }, text);
  return h(
    "div",
    { class: "map-controls" },
    h("div", { class: "field" }, h("label", { for: id }, "Colour by"), select),
    h("div", { class: "map-search" }, combobox({ label: "Find an item", search, onpick: (row) => onfind(row.id), signal: context.signal })),
    h(
      "div",
      { class: "row map-zoom", role: "group", "aria-label": "Zoom" },
      button("Nearer", "+", () => canvas.zoom(1.6)),
      button("Further", "−", () => canvas.zoom(1 / 1.6)),
      button("Show all of the map", "All", () => canvas.reset()),
    ),
  );
}

/** Each group with its mark and its size; as buttons that hide and show it. */
function legend(groups, found, hidden, repaint) {
  if (groups.groups.length < 2) return null;
  const toggle = (n) => (event) => {
    if (!hidden.delete(n)) hidden.add(n);
    event.currentTarget.setAttribute("aria-pressed", String(!hidden.has(n)));
    repaint();
  };
  const entry = (group, n) =>
    h(
      "li",
      null,
      h("button", { type: "button", class: "map-entry", "aria-pressed": "true", onclick: toggle(n) }, legendMark(group), h("span", { class: "map-label" }, group.label), h("span", { class: "muted" }, whole(group.count))),
    );
  return h("div", { class: "map-legend" }, h("h2", null, found.by), h("ul", null, groups.groups.map(entry)), found.kind === "tags" && h("p", { class: "muted" }, "An item with several stands with the rarest of those listed."));
}

function table(points, found, groups, hidden, camera, context) {
  const [px, py] = camera.middle();
  const far = (n) => {
    const [x, y] = camera.place(points.x[n], points.y[n]);
    return (x - px) ** 2 + (y - py) ** 2;
  };
  const seen = points.ids.map((_, n) => n).filter((n) => !hidden.has(groups.of[n]) && camera.sees(points.x[n], points.y[n]));
  const rows = seen.map((n) => [far(n), n]).sort((one, other) => one[0] - other[0]).slice(0, LISTED).map(([, n]) => n);
  return h(
    "table",
    { class: "table" },
    h("caption", null, `${whole(rows.length)} of ${whole(seen.length)} items in view, from the middle outwards`),
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "Item"), found.by && h("th", { scope: "col" }, found.by), h("th", { scope: "col", class: "number map-coordinate" }, "Right"), h("th", { scope: "col", class: "number map-coordinate" }, "Up"))),
    h(
      "tbody",
      null,
      rows.map((n) =>
        h(
          "tr",
          null,
          h("th", { scope: "row" }, itemLink(context, points.ids[n], points.names[n])),
          found.by && h("td", null, plain(found.values[n])),
          h("td", { class: "number map-coordinate" }, score(points.x[n])),
          h("td", { class: "number map-coordinate" }, score(points.y[n])),
        ),
      ),
    ),
  );
}
