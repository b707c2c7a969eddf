// The shortlist as a table: both stages' scores and ranks of every item. When it changes, rows glide to their new
// places, unless a person asked for less movement.

import { h, mayMove } from "../../dom.js";
import { count, nameOf, score } from "../../format.js";
import { stateful } from "../../states.js";
import { itemCell } from "../../widgets/item.js";
import { moved } from "../../widgets/move.js";

/**
 * Returns the card with `show(answer)`, `loading()`, `stale()`, `error(error, retry)`.
 * onwhy(id): asks why an item is there, or no longer; whyOf(item): the row's explanation, if it is open.
 */
export function listCard(context, { onwhy, whyOf }) {
  const body = h("div", { class: "list-body" });
  const view = stateful(body, "the shortlist");
  const facts = h("p", { class: "muted small list-facts" });
  const element = h(
    "section",
    { class: "panel list", "aria-labelledby": "list-title" },
    h("div", { class: "row row-apart" }, h("h2", { id: "list-title" }, "Shortlist"), facts),
    body,
  );
  let before = null;

  function show(answer) {
    const bundle = context.bundles.find((one) => one.side === answer.variant) ?? context.bundle();
    delete body.dataset.stale;
    facts.textContent = context.bundles.length > 1 ? `Bundle ${answer.variant}` : "";
    if (answer.items.length === 0) {
      before = answer;
      const clear = h("button", { type: "button", class: "button", onclick: () => context.set({ where: "", exclude: [], seen: "" }) }, "Clear the filters");
      return view.empty("Nothing is left to recommend", "The filter, and what this person had, leave no item.", clear);
    }
    const places = placesOf(body);
    const focus = focusIn(body);
    view.show(table(answer, bundle, { context, onwhy, whyOf }));
    refocus(body, focus);
    glide(body, places);
    if (before) context.announce(whatChanged(before, answer, bundle));
    before = answer;
  }

  return {
    element,
    show,
    loading: () => view.loading({ rows: Math.min(Number(context.state.k) * 2, 24) }),
    /** What stands there is not the answer to what is set now. */
    stale: () => {
      if (before) {
        body.dataset.state = "ready";
        body.dataset.stale = "";
        body.setAttribute("aria-busy", "false");
        facts.textContent = "From before: a setting cannot be read";
      } else view.empty("No shortlist yet", "A setting cannot be read; it says why.");
    },
    error: (error, retry) => view.error(error, retry),
  };
}

function table(answer, bundle, { context, onwhy, whyOf }) {
  const { items } = answer;
  const head = bundle.utility?.head ?? "rating";
  const scale = bundle.rating_scale ?? bundle.heads?.find((one) => one.column === head)?.scale;
  const rated = items.some((item) => typeof item[head] === "number");
  // Without a second stage the order, the rank and the score are retrieval's own: once is enough.
  const ranked = bundle.stages?.ranking !== false && items.some((item) => item.retrieval_rank !== undefined && item.source !== "popular");
  const columns = [
    { head: "#", label: "Rank", class: "number list-rank", cell: (item) => item.rank },
    { head: "Item", class: "list-item", cell: (item) => itemCell(context, item, bundle), row: true },
    ranked && { head: "Retrieved", label: "Rank by retrieval alone, and how far ranking moved it", class: "list-move", short: "Retrieved", cell: movement },
    rated && { head: `Predicted ${head}`, class: "number list-rated", short: head[0].toUpperCase() + head.slice(1), cell: (item) => metered(item[head], scale) },
    { head: "Score", class: "number list-score", short: "Score", cell: (item) => score(item.score) },
    ranked && { head: "Retrieval", label: "Score of retrieval", class: "number list-retrieval", cell: (item) => score(item.retrieval_score) },
    { head: "Source", class: "list-source", cell: (item) => h("span", { class: item.source === "popular" ? "badge badge-warn" : "badge" }, item.source) },
    { head: "", label: "Actions", class: "list-actions", cell: (item) => actions(item, bundle, { context, onwhy, open: whyOf(item) !== null }) },
  ].filter(Boolean);
  return h(
    "table",
    { class: "table list-table", role: "table" },
    h("caption", {}, `${count(items.length, "item")}, best first`),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map(heading))),
    h(
      "tbody",
      { role: "rowgroup" },
      items.map((item) => {
        const why = whyOf(item);
        const row = h(
          "tr",
          { class: why ? "list-row list-open" : "list-row", role: "row", dataset: { id: item.item_id } },
          columns.map((one) => h(one.row ? "th" : "td", { class: one.class, role: one.row ? "rowheader" : "cell", ...(one.row && { scope: "row" }), dataset: one.short ? { short: one.short } : {} }, one.cell(item))),
        );
        return [row, why && h("tr", { class: "list-why", role: "row" }, h("td", { colspan: columns.length, role: "cell" }, why))];
      }),
    ),
  );
}

function heading(column) {
  return h(
    "th",
    { scope: "col", role: "columnheader", class: column.class },
    column.label ? [h("span", { "aria-hidden": "true", title: column.label }, column.head), h("span", { class: "visually-hidden" }, column.label)] : column.head,
  );
}

function movement(item) {
  if (!item.retrieval_rank) return "–";
  return h("span", { class: "move" }, h("span", { class: "move-from" }, item.retrieval_rank), moved(item.retrieval_rank - item.rank));
}

/** A figure, with a bar where it has a scale of its own; what has none is no length. */
function metered(value, scale) {
  if (typeof value !== "number") return "–";
  if (!scale || scale[1] <= scale[0]) return score(value);
  const part = (value - scale[0]) / (scale[1] - scale[0]);
  return [score(value), h("span", { class: "meter", "aria-hidden": "true", style: { "--value": 0.08 + 0.92 * Math.max(0, Math.min(1, part)) } })];
}

function actions(item, bundle, { context, onwhy, open }) {
  const name = nameOf(item, bundle);
  return h(
    "span",
    { class: "list-buttons" },
    h("button", { type: "button", class: "button button-small", dataset: { action: "why" }, "aria-expanded": String(open), "aria-label": `Why ${name}`, onclick: () => onwhy(item.item_id) }, "Why"),
    h("button", { type: "button", class: "button button-quiet button-icon button-small", dataset: { action: "out" }, "aria-label": `Leave ${name} out`, title: "Leave out", onclick: () => context.set({ exclude: [...context.state.exclude, item.item_id] }) }, "×"),
  );
}

function whatChanged(before, answer, bundle) {
  const had = new Set(before.items.map((item) => item.item_id));
  const fresh = answer.items.filter((item) => !had.has(item.item_id)).length;
  const same = before.items.length === answer.items.length && before.items.every((item, n) => item.item_id === answer.items[n].item_id);
  const first = nameOf(answer.items[0], bundle);
  return same ? `The shortlist is the same, first ${first}` : `The shortlist changed: ${count(answer.items.length, "item")}, ${fresh} of them new, first ${first}`;
}

function placesOf(body) {
  return new Map([...body.querySelectorAll(".list-row")].map((row) => [row.dataset.id, row.getBoundingClientRect().top]));
}

/** Rows go from where they were to where they are; new ones appear. */
function glide(body, places) {
  if (!places.size || !mayMove()) return;
  for (const row of body.querySelectorAll(".list-row")) {
    const was = places.get(row.dataset.id);
    const by = was === undefined ? 0 : was - row.getBoundingClientRect().top;
    const timing = { duration: 260, easing: "cubic-bezier(0.2, 0, 0, 1)" };
    if (was === undefined) row.animate([{ opacity: 0 }, { opacity: 1 }], timing);
    else if (Math.abs(by) > 1) row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], timing);
  }
}

/** The button of the list a keyboard is on, to come back to it once the list is drawn anew. */
function focusIn(body) {
  const button = body.contains(document.activeElement) ? document.activeElement : null;
  const row = button?.closest(".list-row");
  if (!row) return null;
  return { id: row.dataset.id, action: button.dataset.action, place: [...body.querySelectorAll(".list-row")].indexOf(row) };
}

function refocus(body, focus) {
  if (!focus) return;
  const rows = [...body.querySelectorAll(".list-row")];
  const row = rows.find((one) => one.dataset.id === focus.id) ?? rows[Math.min(focus.place, rows.length - 1)];
  (focus.action ? row?.querySelector(`[data-action="${focus.action}"]`) : row?.querySelector("a"))?.focus({ preventScroll: true });
}
