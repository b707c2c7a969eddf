// Signed horizontal bars as a table: what a screen reader hears is the table, what an eye sees is the bars.

import { h } from "../dom.js";
import { change } from "../format.js";

/**
 * rows -> a table of bars around zero, or from the left where none is below it.
 * caption: said of the table; shown: whether it is seen too. heads: of the label and of the bar; label(row): a node
 * or text; value(row): a number; extra: further columns [{head, cell(row)}]. scale: rows of all tables that are to
 * be compared by eye, where there are several; apart: rows at the end that are told in figures, without a bar.
 */
export function bars(rows, { caption, shown = false, heads, label, value, format = change, extra = [], scale = rows, apart = [] }) {
  const most = Math.max(...scale.map((row) => Math.abs(value(row))), 1e-9);
  const above = scale.every((row) => value(row) >= 0);
  const line = (row, bar) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, label(row)),
      h("td", { class: "bars-cell" }, bar),
      h("td", { class: "number" }, format(value(row))),
      extra.map((one) => h("td", { class: "number" }, one.cell(row))),
    );
  return h(
    "table",
    { class: above ? "bars bars-above" : "bars" },
    h("caption", { class: shown ? "bars-caption" : "visually-hidden" }, caption),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, heads[0]),
        h("th", { scope: "col", colspan: 2 }, heads[1]),
        extra.map((one) => h("th", { scope: "col", class: "number" }, one.head)),
      ),
    ),
    h(
      "tbody",
      {},
      rows.map((row) => {
        const way = value(row) < 0 ? "bars-track bars-down" : "bars-track";
        return line(row, h("span", { class: way, style: { "--length": Math.abs(value(row)) / most } }));
      }),
    ),
    apart.length > 0 && h("tfoot", {}, apart.map((row) => line(row, null))),
  );
}
