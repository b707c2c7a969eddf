// The catalogue: search, a condition on columns, a page at a time. However large it is, what is loaded and what
// stands in the document is one page.

import { get, latest } from "../api.js";
import { debounce, h, replace, uid } from "../dom.js";
import { nameOf } from "../format.js";
import { stateful } from "../states.js";
import { declare } from "../store.js";
import { whichBundle } from "../widgets/which.js";
import { isStatistic, itemLink, numeric, share, shown } from "./values.js";

export const title = "Catalogue";

declare({ catQ: "", catWhere: "", catOrder: "", catHide: [], catSize: "20", catPages: "" });

const SIZES = ["20", "50", "100"];
const ORDERS = ["", "popular"];
const FURTHER = 50; // requests after one that found nothing yet

export async function mount(element, context) {
  const run = latest(context.signal);
  const place = h("div", { class: "catalogue-rows" });
  const view = stateful(place, "items");
  const form = makeForm(context);
  let loaded = null;

  async function load() {
    const { catQ, catWhere, catOrder, catSize, side } = context.state;
    const starts = startsOf(context.state);
    view.loading({ rows: 10 });
    form.wrong(null);
    try {
      const asked = { q: catQ, where: catWhere, order: oneOf(ORDERS, catOrder), after: starts.at(-1), limit: oneOf(SIZES, catSize), side };
      const page = await run((signal) => search(asked, signal));
      if (page !== undefined) show(page, starts);
    } catch (error) {
      if (error.pointer === "/where") {
        form.wrong(error);
        view.empty("No items are listed", "The filter above cannot be read.");
      } else view.error(error, () => (loaded = load()));
    }
  }

  function show(page, starts) {
    if (!page.rows.length && starts.length === 1) {
      const { catQ, catWhere } = context.state;
      const text = catQ && catWhere ? "Search for less, or filter less." : catWhere ? "Filter less." : "Search for less.";
      view.empty(catQ || catWhere ? "No item is like that" : "This catalogue is empty", text, form.clearButton());
      context.announce("No items found");
      return;
    }
    if (!page.rows.length) {
      view.empty("The list ends before this page", "", h("button", { type: "button", class: "button", onclick: () => turn([0]) }, "First page"));
      return;
    }
    view.show(columnsOf(page.rows, context, () => show(page, starts)), table(page, context), pager(page, starts, turn));
    context.announce(`Page ${starts.length}: ${page.rows.length} items`);
  }

  /** To another page, which is in the address too. */
  function turn(starts) {
    context.set({ catPages: starts.slice(1).join(".") }, { push: true });
    return loaded;
  }

  const which = h("div", { class: "catalogue-which" }, whichBundle(context));
  element.append(h("div", { class: "panel stack" }, form.element, which, place));
  const stop = context.subscribe((_, changed) => {
    const other = ["side", "catQ", "catWhere", "catOrder", "catSize"].some((name) => changed.has(name));
    if (!other && !changed.has("catPages")) return;
    form.follow();
    replace(which, whichBundle(context));
    // Pages begin where they do in one list only: another begins with its first.
    if (other && context.state.catPages && !changed.has("catPages")) context.set({ catPages: "" });
    else loaded = load();
  });
  load();
  return () => {
    form.stop();
    stop();
  };
}

/** A value, or the first where it is none of those there are. */
function oneOf(values, value) {
  return values.includes(value) ? value : values[0];
}

/** Where each page up to this one begins: "20.40" of the address, after 0. */
function startsOf(state) {
  return [0, ...state.catPages.split(".").filter((text) => /^\d+$/.test(text)).map(Number)];
}

// In a large catalogue a search reads so many rows at a time: it may find none of them, and go on.
async function search(asked, signal) {
  let page = await get("v1/items", asked, { signal });
  for (let n = 0; n < FURTHER && !page.rows.length && page.next !== null; n += 1) {
    page = await get("v1/items", { ...asked, after: page.next }, { signal });
  }
  return page;
}

// -- what is asked for

function makeForm(context) {
  const [search, where, order, size] = ["search", "where", "order", "size"].map((name) => uid(`catalogue-${name}`));
  const trouble = h("p", { class: "field-error", id: `${where}-error`, role: "alert", hidden: true });
  const searchInput = h("input", { id: search, class: "input", type: "search", autocomplete: "off", maxlength: 512 });
  const whereInput = h("input", { id: where, class: "input mono", type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off", maxlength: 4000, placeholder: example(context) });
  const orderSelect = h("select", { id: order, class: "select" }, h("option", { value: "" }, "As stored"), h("option", { value: "popular" }, "Most popular first"));
  const sizeSelect = h("select", { id: size, class: "select" }, SIZES.map((n) => h("option", { value: n }, n)));
  const ask = () => {
    typed.cancel();
    context.set({ catQ: searchInput.value, catWhere: whereInput.value.trim() });
  };
  const typed = debounce(ask, 300);
  searchInput.addEventListener("input", () => typed());
  whereInput.addEventListener("change", ask);
  orderSelect.addEventListener("change", () => context.set({ catOrder: orderSelect.value }));
  sizeSelect.addEventListener("change", () => context.set({ catSize: sizeSelect.value }));

  const follow = () => {
    if (document.activeElement !== searchInput && !typed.waits()) searchInput.value = context.state.catQ;
    if (document.activeElement !== whereInput) whereInput.value = context.state.catWhere;
    orderSelect.value = oneOf(ORDERS, context.state.catOrder);
    sizeSelect.value = oneOf(SIZES, context.state.catSize);
  };
  follow();

  const field = (id, label, input, ...more) => h("div", { class: input === searchInput || input === whereInput ? "field catalogue-long" : "field" }, h("label", { for: id }, label), input, more);
  const submit = (event) => {
    event.preventDefault();
    ask();
  };
  return {
    element: h(
      "form",
      { class: "catalogue-form", role: "search", "aria-label": "Items", onsubmit: submit },
      field(search, "Search by id or name", searchInput),
      (itemColumns(context).length > 0 || context.state.catWhere) && field(where, "Filter by columns", whereInput, trouble),
      field(order, "Order", orderSelect),
      field(size, "A page has", sizeSelect),
      h("button", { type: "submit", class: "button" }, "Show"),
      help(context),
    ),
    follow,
    stop: () => typed.cancel(),
    wrong(error) {
      trouble.hidden = !error;
      replace(trouble, error && [error.message, error.hint && ` (${error.hint})`]);
      if (error) whereInput.setAttribute("aria-describedby", trouble.id);
      else whereInput.removeAttribute("aria-describedby");
      whereInput.setAttribute("aria-invalid", String(Boolean(error)));
    },
    clearButton() {
      const clear = () => {
        searchInput.value = "";
        whereInput.value = "";
        context.set({ catQ: "", catWhere: "" });
        searchInput.focus();
      };
      return h("button", { type: "button", class: "button", onclick: clear }, "Show all items");
    },
  };
}

function example(context) {
  const kinds = ["tags", "category", "number"];
  const columns = itemColumns(context).filter((one) => kinds.includes(one.kind));
  const found = columns.sort((one, other) => kinds.indexOf(one.kind) - kinds.indexOf(other.kind)).map(condition).find(Boolean);
  return found ? `e.g. ${found}` : "";
}

function itemColumns(context) {
  return context.bundle()?.columns?.items ?? [];
}

// A condition on a column that is true of some items.
function condition(column) {
  const first = column.examples?.[0];
  if (column.kind === "number" && Number.isFinite(column.most)) return `${quoted(column.name)} >= ${Math.round((column.least + column.most) / 2)}`;
  if (column.kind === "flag") return `${quoted(column.name)} == true`;
  if (typeof first !== "string") return "";
  const text = `'${first.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  return column.kind === "tags" ? `${text} in ${quoted(column.name)}` : `${quoted(column.name)} == ${text}`;
}

function quoted(name) {
  return /^[A-Za-z_]\w*$/.test(name) ? name : `\`${name}\``;
}

function help(context) {
  const columns = itemColumns(context);
  if (!columns.length) return null;
  return h(
    "details",
    { class: "catalogue-help" },
    h("summary", null, "Columns, and how to filter by them"),
    h("p", null, "Compare with ", ["==", "!=", "<", "<=", ">", ">=", "in", "is missing"].map((one, n) => [n > 0 && ", ", h("code", null, one)]), "; join with ", h("code", null, "and"), ", ", h("code", null, "or"), ", ", h("code", null, "not"), " and brackets."),
    h(
      "dl",
      { class: "catalogue-columns" },
      columns.map((column) => [
        h("dt", { class: "mono" }, column.name),
        h("dd", null, told(column), condition(column) && [": ", h("code", null, condition(column))]),
      ]),
    ),
  );
}

function told(column) {
  const range = column.least === undefined || column.kind !== "number" ? "" : ` from ${column.least} to ${column.most}`;
  return `${column.kind}${range}`;
}

// -- what is shown

function columnsOf(rows, context, again) {
  const names = columnsShown(rows, context);
  if (!names.length) return null;
  const toggle = (name, on) => {
    const hidden = new Set(context.state.catHide);
    if (on) hidden.delete(name);
    else hidden.add(name);
    context.set({ catHide: [...hidden] });
    again();
    document.getElementById(`catalogue-column-${names.indexOf(name)}`)?.focus();
  };
  return h(
    "fieldset",
    { class: "catalogue-chooser" },
    h("legend", null, "Columns"),
    names.map((name, n) =>
      h("label", null, h("input", { type: "checkbox", id: `catalogue-column-${n}`, checked: !context.state.catHide.includes(name), onchange: (event) => toggle(name, event.target.checked) }), name),
    ),
  );
}

function table(page, context) {
  const name = context.bundle().name_column ?? "";
  const others = columnsShown(page.rows, context).filter((one) => !context.state.catHide.includes(one));
  const right = Object.fromEntries(others.map((one) => [one, numeric(page.rows, one) ? "number" : null]));
  const cell = (item, one) => (isStatistic(one, context.bundle()) ? share(item[one]) : shown(item[one]));
  const row = (item) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, itemLink(context, item.item_id, nameOf(item, context.bundle()))),
      name && h("td", { class: "mono" }, item.item_id),
      others.map((one) => h("td", { class: right[one] }, cell(item, one))),
    );
  return h(
    "div",
    { class: "scroll-x", tabindex: "0", role: "region", "aria-label": "Items, as a table" },
    h(
      "table",
      { class: "table catalogue-table" },
      h("caption", null, counted(page, context.state.catQ !== "")),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, name || "item_id"), name && h("th", { scope: "col" }, "item_id"), others.map((one) => h("th", { scope: "col", class: right[one] }, one)))),
      h("tbody", null, page.rows.map(row)),
    ),
  );
}

/** Columns beside name and id. An item's place by popularity is said where it is alone: here the order says it. */
function columnsShown(rows, context) {
  const bundle = context.bundle();
  const left = ["item_id", bundle.name_column, isStatistic("popularity_rank", bundle) && "popularity_rank"];
  return Object.keys(rows[0] ?? {}).filter((name) => !left.includes(name));
}

function counted(page, searched) {
  const total = page.total.toLocaleString("en");
  if (Number.isFinite(page.matched) && page.matched !== page.total) return `${page.matched.toLocaleString("en")} of ${total} items`;
  return searched ? `Matches among ${total} items` : `${total} items`;
}

function pager(page, starts, load) {
  const go = (pages) => async (event) => {
    const which = event.currentTarget.dataset.go;
    await load(pages);
    const buttons = [...document.querySelectorAll(".catalogue-rows .pager button")];
    (buttons.find((one) => one.dataset.go === which && !one.disabled) ?? buttons.find((one) => !one.disabled))?.focus();
  };
  const more = page.next !== null && page.next !== undefined;
  return h(
    "nav",
    { class: "pager row", "aria-label": "Pages of items" },
    h("button", { type: "button", class: "button", dataset: { go: "back" }, disabled: starts.length < 2, onclick: go(starts.slice(0, -1)) }, "Previous page"),
    h("span", { class: "muted" }, `Page ${starts.length.toLocaleString("en")}`),
    h("button", { type: "button", class: "button", dataset: { go: "on" }, disabled: !more, onclick: go([...starts, page.next]) }, "Next page"),
  );
}
