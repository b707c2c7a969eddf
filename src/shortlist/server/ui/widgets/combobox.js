// A field that searches while one types, a page at a time: users, films, whatever has an id. By keyboard: arrows,
// Home, End, Enter, Escape; further pages come when the last option is reached.

import { latest } from "../api.js";
import { debounce, h, replace, uid } from "../dom.js";

/**
 * Returns the field's element, with `.input`, `.clear()` and `.tell(text)`.
 * search(text, after, signal) -> {rows: [{id, label, note}], next}; onpick(row); onenter(text): Enter without an
 * option chosen. hideLabel: the label is for screen readers alone. keep: the picked label stays in the field.
 */
export function combobox({ label, placeholder = "", search, onpick, onenter, value = "", hideLabel = false, keep = true, signal }) {
  const id = uid("combobox");
  const state = { rows: [], next: null, active: -1, text: null, busy: false, kept: value };
  const run = latest(signal);

  const list = h("ul", { id: `${id}-list`, role: "listbox", class: "combobox-list", "aria-label": label, hidden: true });
  const said = h("p", { class: "combobox-said", role: "status" });
  const popup = h("div", { class: "combobox-popup", hidden: true }, list, said);
  const input = h("input", {
    id,
    class: "input",
    type: "text",
    role: "combobox",
    placeholder,
    value,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": `${id}-list`,
    oninput: () => later(),
    onclick: () => open(),
    onkeydown: (event) => press(event),
    onblur: () => {
      close();
      if (keep) input.value = state.kept; // what was typed and not taken is not what the page shows
    },
  });
  popup.addEventListener("mousedown", (event) => event.preventDefault());
  list.addEventListener("scroll", () => {
    if (list.scrollTop + list.clientHeight > list.scrollHeight - 80) more();
  });
  const later = debounce(() => open({ again: true }), 150);

  async function open({ again = false } = {}) {
    if (!popup.hidden && !again && state.text === input.value) return;
    popup.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (state.text === input.value && state.rows.length) return draw();
    Object.assign(state, { text: input.value, rows: [], next: 0 });
    await load();
  }

  async function more() {
    if (state.next !== null && !state.busy && state.rows.length) await load();
  }

  async function load() {
    const after = state.next;
    state.busy = true;
    if (after === 0) replace(said, "Searching…");
    try {
      const found = await run((one) => search(state.text.trim(), after, one));
      if (found === undefined) return;
      if (after === 0) state.active = -1;
      state.rows = after === 0 ? found.rows : [...state.rows, ...found.rows];
      state.next = found.next;
      draw();
    } catch (error) {
      list.hidden = true;
      replace(said, error.message);
      state.text = null;
    } finally {
      state.busy = false;
    }
  }

  function draw() {
    const options = state.rows.map((row, n) =>
      h(
        "li",
        {
          id: `${id}-${n}`,
          role: "option",
          class: "combobox-option",
          "aria-selected": String(n === state.active),
          onclick: () => pick(n),
        },
        h("span", {}, row.label),
        row.note && h("span", { class: "muted small" }, row.note),
      ),
    );
    replace(list, options);
    list.hidden = options.length === 0;
    replace(said, options.length ? (state.next === null ? "" : "More below") : `Nothing holds “${state.text.trim()}”.`);
    said.hidden = !said.firstChild;
    activate(Math.min(state.active, options.length - 1));
  }

  function activate(n) {
    list.children[state.active]?.setAttribute("aria-selected", "false");
    state.active = n;
    const option = list.children[n];
    if (!option) return input.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", option.id);
    if (n >= state.rows.length - 3) more();
  }

  function pick(n) {
    const row = state.rows[n];
    settle(keep ? row.label : "");
    close();
    onpick(row);
  }

  function settle(text) {
    state.kept = text;
    input.value = text;
  }

  function close() {
    later.cancel();
    popup.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    state.active = -1;
    state.text = null;
  }

  async function press(event) {
    const last = state.rows.length - 1;
    const moves = { ArrowDown: Math.min(state.active + 1, last), ArrowUp: Math.max(state.active - 1, 0), Home: 0, End: last };
    if (event.key === "Escape" && !popup.hidden) {
      event.preventDefault();
      close();
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (!popup.hidden && state.active >= 0) pick(state.active);
      else if (onenter && input.value.trim()) {
        close();
        settle(input.value.trim());
        onenter(input.value);
      }
    } else if (event.key === "ArrowDown" && popup.hidden) {
      event.preventDefault();
      await open();
    } else if (event.key in moves && !popup.hidden && (event.key.startsWith("Arrow") || state.active >= 0)) {
      event.preventDefault();
      activate(moves[event.key]);
    }
  }

  const element = h(
    "div",
    { class: "field" },
    h("label", { for: id, class: hideLabel && "visually-hidden" }, label),
    h("div", { class: "combobox" }, input, popup),
  );
  return Object.assign(element, {
    input,
    clear() {
      settle("");
      close();
    },
    /** What the page shows now, unless somebody is typing. */
    tell(text) {
      if (popup.hidden && !later.waits()) settle(text);
      else state.kept = text;
    },
  });
}
