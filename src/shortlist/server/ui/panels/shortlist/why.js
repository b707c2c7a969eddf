// Why an item is in the shortlist: what becomes of its score and rank when one thing that is known of the person, or
// of the item, is taken away. The server computes each of these shortlists anew; nothing is estimated.

import { latest, post } from "../../api.js";
import { focusOn, h, replace } from "../../dom.js";
import { change as signed, day, nameOf, plain, rounded, score } from "../../format.js";
import { stateful } from "../../states.js";
import { bars } from "../../widgets/bars.js";
import { moved } from "../../widgets/move.js";
import { weightOf } from "./asking.js";

const FIRST = 6;
const GROUPS = [
  ["What the person did", (change) => change.kind === "history"],
  ["What else is known of the person", (change) => change.kind === "query"],
  ["What is known of the item", (change) => change.kind === "item"],
];

/** All of a history at once is many things together: it is told in figures, and not drawn. */
const isWhole = (row) => row.of.kind === "history" && row.of.item_id === null;

/** The explanation of one item. bodyOf(): the request that the shortlist answers, as it is now. */
export function whyCard(context, { bodyOf }) {
  const element = h("div", { class: "why", role: "region", "aria-label": "Why this item" });
  const view = stateful(element, "the reasons");
  const run = latest(context.signal);

  async function load(item) {
    const bundle = context.bundle();
    const most = bundle.limits?.explain_k ?? 50;
    if (item.rank > most) {
      view.empty(`Only the first ${most} items can be explained`, "Ask for fewer, or narrow the filter.");
      return;
    }
    view.loading({ rows: 6 });
    try {
      const body = bodyOf();
      const answer = await run((signal) => post("v1/recommend", { ...body, k: Math.min(body.k, most), explain: [item.item_id] }, { signal }));
      if (answer !== undefined) show(answer, item.item_id, bundle);
    } catch (error) {
      view.error(error, () => load(item));
    }
  }

  function show(answer, id, bundle) {
    const item = answer.items.find((one) => one.item_id === id);
    const { changes = [], notes = [], history_left_out: left = 0, candidates } = answer.explained ?? {};
    if (!item?.why?.length) {
      view.empty("There is nothing to take away", notes.map((note) => `${capital(note)}.`).join(" ") || "The model was not asked: these are popular items.");
      return;
    }
    const rows = item.why.map((one) => ({ ...one, of: changes[one.change] }));
    const unasked = rows.filter((row) => typeof row.score_change !== "number");
    const still = rows.filter((row) => row.score_change === 0 && !row.rank_change);
    const told = rows.filter((row) => !unasked.includes(row) && !still.includes(row));
    const names = (some) => listed(some.map((row) => labelOf(row.of, item, bundle)));
    view.show(
      sum(item, bundle, weightOf(context.state)),
      told.length === 0 && h("p", {}, "Nothing that can be taken away alone changes this item’s score."),
      GROUPS.map(([caption, holds]) => {
        const some = told.filter((row) => holds(row.of)).sort((one, other) => one.score_change - other.score_change);
        return some.length > 0 && reasons(caption, some, told, item, bundle);
      }),
      unasked.length > 0 && h("p", { class: "small" }, "Without ", names(unasked), " the model would not be asked: popular items would stand here."),
      still.length > 0 && h("p", { class: "small muted" }, "No effect: ", names(still), "."),
      h("p", { class: "small muted" }, footnote({ left, candidates, notes })),
    );
  }

  return { element, load };
}

/** score = retrieval + weight x rating, in figures. weight: null for the bundle's own. */
function sum(item, bundle, weight) {
  const { head, rating_weight: own } = bundle.utility ?? {};
  if (item.source === "popular" || typeof item[head] !== "number" || item.score === item.retrieval_score) return null;
  return h(
    "p",
    { class: "why-sum" },
    h("strong", {}, `Score ${score(item.score)}`),
    ` = retrieval ${score(item.retrieval_score)} + ${plain(weight ?? own)} × ${head} ${score(item[head])}`,
  );
}

/** The reasons of a group, the strongest first; those beyond the first few when asked for. told: of all groups. */
function reasons(caption, all, told, item, bundle) {
  const rows = all.filter((row) => !isWhole(row));
  const draw = (some) =>
    bars(some, {
      scale: told.filter((row) => !isWhole(row)),
      apart: all.filter(isWhole),
      caption,
      shown: true,
      heads: ["Without", "Speaks for it, or against it"],
      label: (row) => labelOf(row.of, item, bundle),
      value: (row) => -row.score_change,
      format: (value) => signed(value),
      extra: [
        { head: "Score then", cell: (row) => score(row.score) },
        { head: "Rank then", cell: (row) => rankThen(row, item) },
      ],
    });
  if (rows.length <= FIRST + 1) return h("div", { class: "why-bars" }, draw(rows));
  const box = h("div", { class: "why-bars" });
  const rest = h("button", { type: "button", class: "button button-small", onclick: () => focusOn(replace(box, draw(rows))) }, `${rows.length - FIRST} weaker ones`);
  return replace(box, draw(rows.slice(0, FIRST)), rest);
}

function rankThen(row, item) {
  if (row.rank === null) return h("span", { class: "move-down" }, "gone", h("span", { class: "visually-hidden" }, ": not retrieved"));
  if (row.rank === item.rank) return row.rank;
  return h("span", { class: "move" }, h("span", { class: "move-from" }, row.rank), moved(item.rank - row.rank));
}

function labelOf(change, item, bundle) {
  if (change.kind === "history" && change.item_id === null) return "all of the history at once";
  if (change.kind === "history") {
    const rated = typeof change.rating === "number" ? `rated ${rounded(change.rating)}` : "";
    return [nameOf(change, bundle), rated && h("span", { class: "muted small" }, ` ${rated}`)];
  }
  const raw = change.kind === "item" ? item[change.name] : change.value;
  const value = change.name === "timestamp" && typeof raw === "number" ? day(raw) : plain(raw);
  return [change.name, value && h("span", { class: "muted small" }, ` ${value}`)];
}

function footnote({ left, candidates, notes }) {
  const parts = ["Each line is a shortlist computed anew with that one thing taken away."];
  if (candidates) parts.push(`${candidates} candidates were ranked.`);
  if (left) parts.push(`${left} older history items were not tried.`);
  return [...parts, ...notes.map((note) => `${capital(note)}.`)].join(" ");
}

function listed(nodes) {
  return nodes.flatMap((node, n) => (n ? [", ", node] : [node]));
}

function capital(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : "";
}
