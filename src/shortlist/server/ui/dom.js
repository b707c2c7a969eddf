// Elements from plain values. Text becomes text nodes, never markup: data cannot turn into HTML, whatever it holds.

const SVG = "http://www.w3.org/2000/svg";
const probe = h("span", { hidden: true }); // takes on a colour of the theme, to be read
let count = 0;

/**
 * An HTML element. Properties: `class`, `dataset: {..}`, `style: {name: value}`, `on<event>: function`; `true` is
 * an attribute without a value; `null`, `undefined` and `false` leave it out (but `aria-*` keeps `false`).
 * Children: nodes, text, numbers, lists of those; `null`, `undefined` and `false` are skipped.
 */
export function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same in the SVG namespace. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Empty an element and put children in. */
export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(present).map(asNode));
  return element;
}

/** An id no other element of the page has, for labels and descriptions. */
export function uid(prefix) {
  count += 1;
  return `${prefix}-${count}`;
}

/** A colour of style.css as it is now, for canvases. They change on the window's event `themechange`. */
export function token(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.setProperty("color", `var(${name})`);
  return getComputedStyle(probe).color;
}

/** Give the keyboard a place: an element that is none by itself, where what had the focus is gone. */
export function focusOn(element) {
  if (document.activeElement !== document.body) return;
  if (!element.hasAttribute("tabindex")) element.tabIndex = -1;
  element.focus({ preventScroll: true });
}

/** Whether things may move. */
export function mayMove() {
  return !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * `fn`, once nothing has called it for so many milliseconds. `.now()` calls it at once, `.cancel()` not at all;
 * `.waits()`: whether it is going to be called.
 */
export function debounce(fn, wait = 250) {
  let timer = 0;
  const later = (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = 0;
      fn(...given);
    }, wait);
  };
  later.waits = () => timer !== 0;
  later.cancel = () => {
    clearTimeout(timer);
    timer = 0;
  };
  later.now = (...given) => {
    later.cancel();
    fn(...given);
  };
  return later;
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) set(element, name, value);
  for (const child of children.flat(Infinity)) {
    if (present(child)) element.append(asNode(child));
  }
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined) return;
  if (name === "dataset") {
    for (const [key, one] of Object.entries(value)) element.dataset[key] = one;
  } else if (name === "style") {
    for (const [key, one] of Object.entries(value)) element.style.setProperty(key, String(one));
  } else if (name.startsWith("on") && typeof value === "function") {
    element.addEventListener(name.slice(2), value);
  } else if (name === "value" && "value" in element) {
    element.value = value;
  } else if (typeof value === "boolean" && !name.startsWith("aria-")) {
    element.toggleAttribute(name, value);
  } else {
    element.setAttribute(name, String(value));
  }
}

function present(child) {
  return child !== null && child !== undefined && child !== false && child !== "";
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}
