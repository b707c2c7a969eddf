// What a person did, on a time line: days with their items, the latest first. Items can be taken out, put back, and
// added; what is changed here goes into the state, and from there into the next request.

import { get } from "../../api.js";
import { focusOn, h } from "../../dom.js";
import { clock, count, day, details, nameOf, rounded } from "../../format.js";
import { itemsByIds, remember } from "../../items.js";
import { stateful } from "../../states.js";
import { combobox } from "../../widgets/combobox.js";
import { addedTo, isChanged, scaleOfHistory, secondsOf } from "./asking.js";
import { popularPicker } from "./picking.js";
import { strip } from "./strip.js";

const UNREAD = "This model reads no history: what is added or taken out here only decides what the list leaves out.";
const FIRST = 25; // items that are drawn at first, and by every "Show more"

/** Returns the card and `show(person)`, `loading()`, `error(error, retry)`. */
export function historyCard(context) {
  const body = h("div", { class: "history-body" });
  const view = stateful(body, "the history");
  const heading = h("h2", { id: "history-title" }, "History");
  const total = h("span", { class: "muted small" });
  const back = h("button", { type: "button", class: "button button-small", hidden: true, onclick: restore }, "As it was");
  const add = combobox({
    label: "Add an item",
    placeholder: "Add an item by its name or id",
    hideLabel: true,
    keep: false,
    signal: context.signal,
    search: async (text, after, signal) => {
      const bundle = context.bundle();
      const found = await get("v1/items", { q: text, after, limit: 30, side: context.bundle().side }, { signal });
      remember(found.rows, context.bundle().side);
      return {
        rows: found.rows.map((row) => ({ id: row.item_id, label: nameOf(row, bundle), note: details(row, bundle) })),
        next: found.next,
      };
    },
    onpick: (row) => put(row.id, row.label),
  });
  const fold = h("button", { type: "button", class: "button button-small history-fold", "aria-controls": "history-rest", onclick: () => open(!isOpen()) });
  const element = h(
    "section",
    { class: "panel history", "aria-labelledby": "history-title" },
    h("div", { class: "row row-apart" }, h("div", { class: "row" }, heading, total), h("div", { class: "row" }, back, fold)),
    h("div", { id: "history-rest", class: "history-rest" }, h("div", { class: "history-add" }, add), body),
  );
  const isOpen = () => element.dataset.open === "true";
  /** On a narrow page (shortlist.css) a long history folds, so that the list is not far below. */
  const open = (yes) => {
    element.dataset.open = String(yes);
    fold.setAttribute("aria-expanded", String(yes));
    fold.textContent = yes ? "Hide" : "Show";
  };
  open(!context.state.user);
  let shown = FIRST;
  let person = null;
  let popular = null; // {side, element}: kept, so that it is asked for once

  function picker() {
    const { side } = context.bundle();
    if (popular?.side !== side) popular = { side, element: popularPicker(context, put) };
    popular.element.refresh();
    return popular.element;
  }

  function put(id, name) {
    const { state } = context;
    const had = person.history.some((row) => row.item_id === id);
    if (had && !state.without.includes(id)) return context.announce(`${name} is in the history already`);
    if (had) return putBack({ item_id: id }, name);
    const stays = state.with.map((one, n) => [one, state.rated[n] ?? ""]).filter(([one]) => one !== id);
    context.set({
      with: [id, ...stays.map(([one]) => one)],
      rated: ["", ...stays.map(([, rating]) => rating)],
      without: state.without.filter((one) => one !== id),
    });
    context.announce(`${name} was added to the history`);
  }

  function takeOut(row, name) {
    const { state } = context;
    const n = state.with.indexOf(row.item_id);
    if (row.added) context.set({ with: state.with.toSpliced(n, 1), rated: state.rated.toSpliced(n, 1) });
    else context.set({ without: [...state.without, row.item_id] });
    context.announce(`${name} was taken out of the history`);
  }

  function putBack(row, name) {
    context.set({ without: context.state.without.filter((id) => id !== row.item_id) });
    context.announce(`${name} is back in the history`);
  }

  function restore() {
    context.set({ with: [], rated: [], without: [] });
    focusOn(element);
    context.announce("The history is as it was");
  }

  async function show(next) {
    if (next.id !== person?.id) {
      shown = FIRST;
      open(!next.id);
    }
    person = next;
    const { state } = context;
    const bundle = context.bundle();
    back.hidden = !isChanged(state);
    total.textContent = person.total ? count(person.total, "item") : "";
    const added = addedTo(person, state, bundle);
    const names = await itemsByIds(state.with, { side: context.bundle().side, signal: context.signal });
    for (const row of added) Object.assign(row, names.get(row.item_id), { item_id: row.item_id });
    if (context.signal.aborted || person !== next) return;
    if (person.history.length === 0 && added.length === 0) nothing();
    else draw(added, bundle);
  }

  function nothing() {
    const picking = person.id ? "Add items to see what it would change." : "Pick items this person likes, and see the list change.";
    const text = context.bundle().reads_history ? picking : UNREAD;
    const focus = focused(body);
    view.show(h("p", { class: "muted history-note" }, text), picker());
    refocus(body, focus);
  }

  function draw(added, bundle) {
    const { state } = context;
    const focus = focused(body);
    const rows = person.history.filter((row) => !state.with.includes(row.item_id));
    const gone = new Set(state.without);
    const until = state.at ? secondsOf(state.at) : Infinity;
    const line = (row) => entry(row, { context, bundle, gone: gone.has(row.item_id), late: !row.added && row.timestamp >= until, takeOut, putBack });
    const days = Map.groupBy(rows.slice(0, shown), (row) => (row.timestamp === undefined ? "Stored" : day(row.timestamp)));
    const more = rows.length - shown;
    const further = () => {
      const first = rows[shown].item_id;
      shown += 100;
      draw(added, bundle);
      [...body.querySelectorAll(".history-entry")].find((one) => one.dataset.id === first)?.querySelector("a").focus({ preventScroll: true });
    };
    const late = state.at ? rows.filter((row) => row.timestamp >= until).length : 0;
    view.show(
      late > 0 && bundle.reads_history && h("p", { class: "note" }, tooLate(late, late === rows.length && person.total <= rows.length)),
      !bundle.reads_history && h("p", { class: "note" }, UNREAD),
      strip(rows, { gone, scale: bundle.rating_scale }),
      added.length > 0 && group("Added here", added.map(line)),
      [...days].map(([name, some]) => group(days.size > 1 || added.length || name !== "Stored" ? name : "", some.map(line))),
      more > 0 &&
        h("button", { type: "button", class: "button history-more", onclick: further }, more > 100 ? `Show 100 of ${count(more, "earlier item")}` : `Show ${count(more, "earlier item")}`),
      person.total > rows.length && h("p", { class: "muted small history-note" }, `${count(person.total - rows.length, "older item")} not loaded.`),
      rows.length === 0 && picker(),
    );
    refocus(body, focus);
  }

  return {
    element,
    show,
    loading: () => view.loading({ rows: 10 }),
    error: (error, retry) => view.error(error, retry),
  };
}

function tooLate(late, all) {
  if (all) return "The date of the query is before all of this history: none of it is used.";
  return `${count(late, "item")} ${late === 1 ? "is" : "are"} later than the query and not used.`;
}

function group(name, lines) {
  const list = h("ol", { class: "history-list" }, lines);
  return name ? h("section", { class: "history-day" }, h("h3", {}, name), list) : list;
}

function entry(row, { context, bundle, gone, late, takeOut, putBack }) {
  const name = nameOf(row, bundle);
  const button = gone
    ? h("button", { type: "button", class: "button button-small", "aria-label": `Put back ${name}`, onclick: () => putBack(row, name) }, "Put back")
    : h("button", { type: "button", class: "button button-quiet button-icon button-small", "aria-label": `Take ${name} out`, title: "Take out", onclick: () => takeOut(row, name) }, "×");
  const time = row.timestamp !== undefined && !row.added && h("time", { class: "history-time", datetime: new Date(row.timestamp * 1000).toISOString() }, clock(row.timestamp));
  return h(
    "li",
    { class: ["history-entry", gone && "history-gone", late && "history-late", time && "history-timed"].filter(Boolean).join(" "), dataset: { id: row.item_id } },
    time,
    h("a", { class: "history-name", href: context.link("item", { item: row.item_id }), title: name }, name, late && h("span", { class: "visually-hidden" }, ", later than the query")),
    row.added && scaleOfHistory(bundle) ? ratingChoice(context, row, name, bundle.rating_scale) : rating(row, bundle.rating_scale),
    button,
  );
}

function rating(row, scale) {
  if (typeof row.rating !== "number") return h("span", { class: "history-rating" });
  const of = scale ? ` of ${rounded(scale[1])}` : "";
  const shown = rounded(row.rating);
  return h("span", { class: "history-rating", title: `Rated ${shown}${of}` }, h("span", { class: "visually-hidden" }, "rated "), shown);
}

function ratingChoice(context, row, name, [least, most]) {
  const steps = Array.from({ length: Math.floor(most - least) + 1 }, (_, n) => most - n);
  const select = h(
    "select",
    {
      class: "select history-choice",
      "aria-label": `Rating of ${name}`,
      onchange: () => {
        const n = context.state.with.indexOf(row.item_id);
        const rated = context.state.with.map((_, at) => context.state.rated[at] ?? "");
        context.set({ rated: rated.with(n, select.value) });
      },
    },
    steps.map((value) => h("option", { value }, value)),
  );
  select.value = String(row.rating);
  return select;
}

/** Where the keyboard is inside of a list that is about to be drawn anew: the entry, or else its place. */
function focused(body) {
  const entry = body.contains(document.activeElement) && document.activeElement.closest("[data-id]");
  if (!entry) return null;
  const like = `.${entry.classList[0]}:not([hidden])`;
  return { id: entry.dataset.id, like, place: [...body.querySelectorAll(`.${entry.classList[0]}`)].indexOf(entry), tag: document.activeElement.tagName };
}

function refocus(body, focus) {
  if (!focus) return;
  const entries = [...body.querySelectorAll(focus.like)];
  const entry = entries.find((one) => one.dataset.id === focus.id) ?? entries[Math.min(focus.place, entries.length - 1)];
  (entry?.querySelector(focus.tag) ?? entry?.querySelector("button"))?.focus({ preventScroll: true });
}
