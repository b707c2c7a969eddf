// How good the recommender is, from the report its training wrote: the verdict in words, every figure beside the
// baselines' with its interval, slices, and the curves of training.

import { get, latest } from "../api.js";
import { h, replace, uid } from "../dom.js";
import { count } from "../format.js";
import { stateful } from "../states.js";
import { declare } from "../store.js";
import { whichBundle } from "../widgets/which.js";
import { intervals } from "./charts/intervals.js";
import { lines } from "./charts/lines.js";
import { inWords } from "./charts/wording.js";

export const title = "Evaluation";

declare({ evMetric: "", evSlice: "" });

const LESS_IS_BETTER = /(rmse|mae|loss)/;
const SAID = {
  wins: ["badge badge-good", "Wins"],
  loses: ["badge badge-bad", "Loses"],
  "": ["badge", "No difference shown"],
};

const UNJUDGED =
  "shortlist train of a recipe judges the bundle it makes and writes the report into it; train --from and a bundle saved in Python have none. shortlist compare judges two bundles on the same rows.";

export async function mount(element, context) {
  const run = latest(context.signal);
  const body = h("div", { class: "evaluation-body stack" });
  const view = stateful(body, "the evaluation");

  async function load() {
    // Known from the start: asking would only be told so.
    if (context.bundle().has?.evaluation === false) return view.empty("This bundle has no report", UNJUDGED);
    view.loading({ rows: 12, keep: false });
    try {
      const report = await run((signal) => get("v1/evaluation", { side: context.state.side }, { signal }));
      if (report !== undefined) show(report);
    } catch (error) {
      if (error.status === 404) view.empty("This bundle has no report", UNJUDGED);
      else view.error(error, load);
    }
  }

  function show(answer) {
    const report = answer.report ?? answer;
    if (!report?.entries?.length) {
      view.empty("This report holds no figures", UNJUDGED);
      return;
    }
    view.show(whichBundle(context), verdict(report), figures(report, context), slices(report, context), curves(report), lengths(report), stages(report), protocol(report));
  }

  element.append(body);
  const stop = context.subscribe((_, changed) => {
    if (changed.has("side")) load();
  });
  load();
  return stop;
}


function card(heading, ...children) {
  const id = uid("evaluation");
  return h("section", { class: "panel stack", "aria-labelledby": id }, h("h2", { id }, heading), children);
}

// -- the verdict

function verdict(report) {
  const warned = (report.collapse ?? []).filter((one) => one.warning);
  return card(
    "The verdict",
    h(
      "ul",
      { class: "evaluation-verdicts" },
      (report.verdicts ?? []).map((one) => {
        const [badge, text] = SAID[one.verdict] ?? SAID[""];
        return h("li", null, h("span", { class: badge }, text), h("span", null, one.sentence));
      }),
    ),
    !report.verdicts?.length && h("p", {}, "No verdict: the run has no baselines to compare the model with (baselines = false)."),
    warned.map((one) => h("p", { class: "evaluation-warning" }, `${one.name}: ${one.warning}`)),
    h("p", { class: "muted" }, "A model wins or loses only where the 95 % interval of the difference leaves zero out. Users are resampled; models are compared pair by pair on the same users."),
  );
}

// -- one metric, all entries

function figures(report, context) {
  const names = [...new Set(report.entries.flatMap((entry) => Object.keys(entry.figures)))];
  const chosen = names.includes(context.state.evMetric) ? context.state.evMetric : report.headline[0];
  const place = h("div", { class: "evaluation-chart" });
  const select = h(
    "select",
    { class: "select", id: uid("metric") },
    group("Headline", report.headline),
    group("Seen items removed", names.filter((name) => name.startsWith("filtered ") && !report.headline.includes(name))),
    group("Seen items left in", names.filter((name) => name.startsWith("raw "))),
    group("Ratings and more", names.filter((name) => !/^(filtered|raw) /.test(name) && !report.headline.includes(name))),
  );
  select.value = chosen;
  const meaning = h("p", { class: "muted", id: uid("meaning") });
  select.setAttribute("aria-describedby", meaning.id);
  const draw = (name) => {
    replace(meaning, inWords(name));
    replace(place, metric(report.entries.map((entry) => [entry, entry.figures[name]]), name, caption(name)));
  };
  select.addEventListener("change", () => {
    context.set({ evMetric: select.value === report.headline[0] ? "" : select.value });
    draw(select.value);
    context.announce(`Figures of ${select.value}`);
  });
  draw(chosen);
  return card("Beside the baselines", h("div", { class: "field evaluation-choice" }, h("label", { for: select.id }, "Figure"), select), meaning, place);
}

function group(label, names) {
  return names.length > 0 && h("optgroup", { label }, names.map((name) => h("option", { value: name }, name)));
}

function caption(name) {
  return `${name}, ${LESS_IS_BETTER.test(name) ? "less" : "more"} is better`;
}

function metric(pairs, name, text) {
  const rows = pairs
    .filter(([, found]) => found)
    .map(([entry, found]) => ({ label: entry.name, strong: entry.role === "model", note: entry.role === "model" ? "this model" : entry.settings, ...found }))
    .sort((one, other) => (LESS_IS_BETTER.test(name) ? one.value - other.value : other.value - one.value));
  if (!rows.length) return h("p", { class: "muted" }, "Nothing was measured here.");
  return intervals(rows, { caption: text, name: "Recommender", format: digits(rows) });
}

function digits(rows) {
  const most = Math.max(...rows.map((row) => Math.abs(row.value)));
  return (value) => value.toFixed(most >= 100 ? 1 : most >= 10 ? 2 : 4);
}

// -- slices

function slices(report, context) {
  const found = report.slices ?? [];
  if (!found.length) return null;
  const names = [...new Set(found.flatMap((one) => Object.values(one.figures).flatMap(Object.keys)))];
  const place = h("div", { class: "evaluation-slices" });
  const select = h("select", { class: "select", id: uid("slice") }, names.map((name) => h("option", { value: name }, name)));
  const roles = Object.fromEntries(report.entries.map((entry) => [entry.name, entry]));
  const draw = () => {
    const parts = found.map((one) => {
      const pairs = Object.entries(one.figures).map(([name, all]) => [{ name, role: roles[name]?.role, settings: "" }, all[select.value]]);
      const size = [one.num_rows && count(one.num_rows, "test row"), one.num_users && count(one.num_users, "user")].filter(Boolean).join(" of ");
      return h("div", null, h("h3", null, one.name), h("p", { class: "muted" }, size), metric(pairs, select.value, `${one.name}: ${caption(select.value)}`));
    });
    replace(place, parts);
  };
  if (names.includes(context.state.evSlice)) select.value = context.state.evSlice;
  select.addEventListener("change", () => {
    context.set({ evSlice: select.value === names[0] ? "" : select.value });
    draw();
    context.announce(`Slices by ${select.value}`);
  });
  draw();
  return card("Slices", h("p", { class: "muted" }, "The same figures for parts of the test rows: where a recommender is good, and where it is not."), h("div", { class: "field evaluation-choice" }, h("label", { for: select.id }, "Figure of each slice"), select), place);
}

// -- curves

function curves(report) {
  const found = Object.entries(report.history ?? {}).filter(([, values]) => values.some(Number.isFinite));
  if (!found.length) return null;
  return card(
    "Learning curves",
    h("p", { class: "muted" }, "By epoch, while the number of epochs was chosen on validation rows. The ring marks the best value."),
    h(
      "div",
      { class: "evaluation-curves" },
      found.map(([name, values]) =>
        lines({
          title: name,
          x: values.map((_, n) => n + 1),
          xLabel: "epoch",
          series: [{ name, values, strong: true }],
          best: LESS_IS_BETTER.test(name) ? "least" : "greatest",
          format: (value) => value.toFixed(4),
        }),
      ),
    ),
  );
}

function lengths(report) {
  const drawn = report.entries.filter((entry) => Object.keys(entry.curve ?? {}).length > 0);
  if (!drawn.length) return null;
  const x = [...new Set(drawn.flatMap((entry) => Object.keys(entry.curve).map(Number)))].sort((one, other) => one - other);
  const series = drawn.map((entry) => ({ name: entry.name, strong: entry.role === "model", values: x.map((k) => entry.curve[k] ?? null) }));
  return card(
    "Hit rate by the length of the list",
    h("div", { class: "evaluation-wide" }, lines({ title: "Share of test rows whose item is among the first k, seen items removed", x, xLabel: "k", series, logarithmic: true, wide: true, format: (value) => value.toFixed(4) })),
  );
}

// -- stages and protocol

function stages(report) {
  const found = Object.entries(report.stages ?? {});
  if (!found.length) return null;
  const names = [...new Set(found.flatMap(([, one]) => (typeof one === "object" ? Object.keys(one) : [])))];
  const cell = (value) => h("td", { class: "number" }, Number.isFinite(value) ? value.toFixed(4) : "–");
  const single = found.filter(([, one]) => typeof one === "number");
  return card(
    "What each stage adds",
    h(
      "div",
      { class: "scroll-x", tabindex: "0", role: "region", "aria-label": "Stages, as a table" },
      h(
        "table",
        { class: "table evaluation-stages" },
        h("caption", { class: "visually-hidden" }, "Figures with and without ranking"),
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "Stages"), names.map((name) => h("th", { scope: "col", class: "number" }, name)))),
        h("tbody", null, found.filter(([, one]) => typeof one === "object").map(([name, one]) => h("tr", null, h("th", { scope: "row" }, name), names.map((metricName) => cell(one[metricName]))))),
      ),
    ),
    single.map(([name, value]) => h("p", null, `${name}: ${value.toFixed(4)}`, h("span", { class: "muted" }, name.startsWith("recall ceiling") ? " – what retrieval leaves for ranking to find" : ""))),
  );
}

function protocol(report) {
  const rows = Object.entries(report.protocol ?? {});
  return card("How it was measured", h("dl", { class: "evaluation-protocol" }, rows.map(([name, value]) => [h("dt", null, name), h("dd", null, String(value))])));
}
