// Who the shortlist is for: a user found by id, or somebody new.

import { get } from "../../api.js";
import { focusOn, h, replace } from "../../dom.js";
import { dotted, plain } from "../../format.js";
import { combobox } from "../../widgets/combobox.js";

/** What a change of the person brings back to its default. */
const FRESH = { without: [], with: [], rated: [], about: [], exclude: [], why: "", at: "" };

/** Returns the card and `show(person)`; person null: it is being loaded; undefined: it could not be. */
export function whoCard(context) {
  const field = combobox({
    label: "User",
    placeholder: "Search by id",
    signal: context.signal,
    value: context.state.user,
    search: async (text, after, signal) => {
      const found = await get("v1/users", { q: text, after, limit: 30, side: context.bundle().side }, { signal });
      return { rows: found.rows.map((row) => ({ id: row.user_id, label: row.user_id, note: aboutLine(row) })), next: found.next };
    },
    onpick: (row) => pick(row.id),
    onenter: pick,
  });
  const fresh = h("button", { type: "button", class: "button", onclick: () => pick("") }, "Somebody new");
  const facts = h("div", { class: "who-facts" });
  const element = h(
    "section",
    { class: "panel who", "aria-label": "Who it is for" },
    h("div", { class: "who-pick" }, field, fresh),
    facts,
  );

  function pick(id) {
    context.set({ ...FRESH, user: id }, { push: true });
    if (!id) field.clear();
    focusOn(element);
  }

  let samples = [];
  get("v1/users", { limit: 3, side: context.bundle().side }, { signal: context.signal })
    .then((found) => {
      samples = found.rows.map((row) => row.user_id);
      if (!context.state.user) show({ id: null, known: false, user: {}, history: [] });
    })
    .catch(() => {}); // they are examples only

  function show(person) {
    field.tell(context.state.user);
    fresh.setAttribute("aria-pressed", String(!context.state.user));
    if (person === undefined) {
      replace(facts, h("p", { class: "muted" }, "Nothing could be learnt of this user."));
    } else if (person === null) {
      replace(facts, h("p", { class: "muted" }, "…"));
    } else if (!person.id) {
      const links = samples.map((id) =>
        h("button", { type: "button", class: "button button-small", onclick: () => pick(id) }, id),
      );
      replace(
        facts,
        h("p", { class: "muted" }, newcomer(context.bundle())),
        h("p", { class: "row small muted who-samples" }, links.length > 0 && ["Or look at", links]),
      );
    } else if (!person.known) {
      replace(facts, h("p", { class: "row" }, h("span", { class: "badge badge-warn" }, "unknown"), h("span", { class: "muted" }, stranger(context.bundle()))));
    } else {
      replace(facts, h("p", {}, aboutLine(person.user) || h("span", { class: "muted" }, "Known by the id alone.")));
    }
  }
  return { element, show };
}

// A model that reads ids is not asked about those it has not learnt, unless there is a history; one that reads none is.

function newcomer(bundle) {
  const byId = bundle.reads?.user_id !== false;
  if (byId) return bundle.reads_history ? "A person without a history: popular items, until you add some to it." : "A person the model has never met gets popular items.";
  return bundle.reads_history ? "A person without a history. Add items to it, and the list follows." : "A person of whom nothing is known but what you tell.";
}

function stranger(bundle) {
  if (bundle.reads?.user_id === false) return "This id is not in the bundle. The model reads no ids, so it is asked all the same.";
  return `This id is not in the bundle: popular items${bundle.reads_history ? ", unless there is a history" : ""}.`;
}

function aboutLine(row) {
  const told = Object.entries(row).filter(([name]) => name !== "user_id" && name !== "timestamp");
  return dotted(told.map(([name, value]) => (typeof value === "number" ? `${name} ${plain(value)}` : plain(value))));
}
