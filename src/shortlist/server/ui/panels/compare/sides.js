// Two shortlists beside each other, with lines between an item's two places. On a narrow page they stand below each
// other, and each item says its other place.

import { h, svg } from "../../dom.js";
import { count, score } from "../../format.js";
import { itemCell } from "../../widgets/item.js";
import { moved } from "../../widgets/move.js";

const ROW = 56; // pixels; compare.css has the same
const GAP = 96; // between the lists

/** bundles, answers: two of each. Returns the node, and what is said of it. */
export function sides(context, bundles, answers) {
  const places = answers.map((answer) => new Map(answer.items.map((item, n) => [item.item_id, n])));
  const both = [...places[0].keys()].filter((id) => places[1].has(id));
  const said = summary(both, places, answers);
  const node = h(
    "div",
    { class: "compare-all" },
    h("p", { class: "compare-summary" }, said),
    h(
      "div",
      { class: "compare-lists" },
      list(context, bundles, answers, places, 0),
      lines(both, places),
      list(context, bundles, answers, places, 1),
    ),
  );
  for (const event of ["pointerover", "focusin"]) node.addEventListener(event, (found) => mark(node, found.target));
  for (const event of ["pointerleave", "focusout"]) node.addEventListener(event, () => mark(node, null));
  return { node, said };
}

function summary(both, places, answers) {
  const most = Math.max(answers[0].items.length, answers[1].items.length);
  const moves = both.map((id) => Math.abs(places[0].get(id) - places[1].get(id)));
  const still = moves.filter((move) => move === 0).length;
  if (both.length === 0) return `No item is in both lists of ${most}.`;
  const mean = moves.reduce((sum, move) => sum + move, 0) / moves.length;
  return `${both.length} of ${count(most, "item")} are in both lists; ${still} of them at the same place, ${score(mean, 1)} places apart on average.`;
}

function list(context, bundles, answers, places, n) {
  const [bundle, other] = [bundles[n], bundles[1 - n]];
  const head = bundle.utility?.head ?? "rating";
  return h(
    "table",
    { class: "table compare-table" },
    h("caption", {}, h("strong", {}, `Bundle ${bundle.side}`), bundle.recipe && ` · ${bundle.recipe}`, " · ", h("span", { class: "mono" }, bundle.version)),
    h(
      "thead",
      {},
      h("tr", {}, ["#", "Item", `In ${other.side}`, "Score"].map((text, at) => h("th", { scope: "col", class: at === 1 ? null : "number" }, text))),
    ),
    h(
      "tbody",
      {},
      answers[n].items.map((item) =>
        h(
          "tr",
          { class: "compare-row", dataset: { id: item.item_id } },
          h("td", { class: "number" }, item.rank),
          h("th", { scope: "row" }, itemCell(context, item, bundle)),
          h("td", { class: "number" }, elsewhere(item, places[1 - n], places[n])),
          h("td", { class: "number" }, score(item.score), typeof item[head] === "number" && h("span", { class: "muted small compare-rated" }, `${head} ${score(item[head])}`)),
        ),
      ),
    ),
  );
}

function elsewhere(item, there, here) {
  const at = there.get(item.item_id);
  if (at === undefined) return h("span", { class: "badge" }, "only here");
  return h("span", { class: "move" }, h("span", { class: "move-from" }, at + 1), moved(here.get(item.item_id) - at));
}

/** From each item's place on the left to its place on the right. */
function lines(both, places) {
  const height = Math.max(places[0].size, places[1].size) * ROW;
  const y = (n) => (n + 0.5) * ROW;
  const drawn = both.map((id) => {
    const [from, to] = [places[0].get(id), places[1].get(id)];
    const way = to < from ? "compare-up" : to > from ? "compare-down" : "compare-same";
    const bend = `M0 ${y(from)} C${GAP / 2} ${y(from)} ${GAP / 2} ${y(to)} ${GAP} ${y(to)}`;
    return svg("path", { class: `compare-line ${way}`, d: bend, "data-id": id });
  });
  return svg("svg", { class: "compare-lines", width: GAP, height, viewBox: `0 0 ${GAP} ${height}`, "aria-hidden": "true" }, drawn);
}

/** Both places of the item that the pointer or the keyboard is on. */
function mark(node, target) {
  const id = target?.closest?.("[data-id]")?.dataset.id;
  for (const one of node.querySelectorAll("[data-id]")) one.classList.toggle("compare-marked", one.dataset.id === id);
}
