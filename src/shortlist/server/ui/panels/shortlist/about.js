// What is told of a person beside the history: columns that the model reads (age, sex, what it was trained with),
// each as a field; left empty, what is stored is used. In the state: texts such as "age=30".

import { declare } from "../../store.js";
import { debounce, h } from "../../dom.js";
import { plain } from "../../format.js";
import { aboutOf } from "./asking.js";
import { fieldOf, keep } from "./controls.js";

declare({ about: [] });

/**
 * Returns a fold of fields with `show(state, person)` and `say(error)`; null where no such column is read.
 * read: the columns of the query that are read.
 */
export function aboutFields(context, read) {
  const columns = read.filter((one) => one.name !== "timestamp" && one.kind !== "vector");
  if (columns.length === 0) return null;
  const fields = new Map(columns.map((column) => [column.name, aboutField(context, column)]));
  const element = h(
    "details",
    { class: "about" },
    h("summary", {}, "About the person"),
    h("div", { class: "controls-fields" }, [...fields.values()].map((field) => field.element)),
  );
  return {
    element,
    show(state, person) {
      if (state.about.length) element.open = true;
      const told = aboutOf(state);
      for (const [name, field] of fields) field.show(told.get(name) ?? "", person?.user?.[name]);
    },
    say(error) {
      for (const field of fields.values()) field.say(null);
      if (!error) return;
      const name = error.pointer.split("/")[2].replaceAll("~1", "/").replaceAll("~0", "~");
      element.open = true;
      fields.get(name)?.say(error);
    },
  };
}

function aboutField(context, column) {
  const set = (value) => {
    const key = encodeURIComponent(column.name);
    const others = context.state.about.filter((text) => !text.startsWith(`${key}=`));
    context.set({ about: value === "" ? others : [...others, `${key}=${value}`] });
  };
  const control = column.values?.length ? choice(column, set) : text(column, set);
  const field = fieldOf({ label: column.name, control });
  return {
    ...field,
    show(value, stored) {
      keep(control, value);
      field.note(value === "" && plain(stored) ? `As stored: ${plain(stored)}` : "");
    },
  };
}

function choice(column, set) {
  const select = h("select", { class: "select", onchange: () => set(select.value) }, h("option", { value: "" }, "as stored"), column.values.map((value) => h("option", { value }, plain(value))));
  return select;
}

function text(column, set) {
  const later = debounce(() => set(input.value.trim()), 350);
  const input = h("input", { class: "input", type: column.kind === "number" ? "number" : "text", step: column.type === "int" ? 1 : "any", placeholder: "as stored", autocomplete: "off", oninput: later });
  return input;
}
