// Light or dark: as the system has it, unless a person chose. The choice is kept; early.js reads it.

import { h, replace, svg } from "../dom.js";

const DARK = window.matchMedia("(prefers-color-scheme: dark)");

/** A button that changes to the other theme. The window hears `themechange`. */
export function themeButton() {
  const button = h("button", { type: "button", class: "button button-quiet button-icon", onclick: change });
  const draw = () => {
    const name = theme() === "dark" ? "Light theme" : "Dark theme";
    button.setAttribute("aria-label", name);
    button.title = name;
    replace(button, theme() === "dark" ? sun() : moon());
  };
  DARK.addEventListener("change", told);
  window.addEventListener("themechange", draw);
  draw();
  return button;
}

function theme() {
  return document.documentElement.dataset.theme ?? (DARK.matches ? "dark" : "light");
}

function change() {
  const next = theme() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // Storage is forbidden: the choice lasts as long as the page.
  }
  told();
}

function told() {
  window.dispatchEvent(new CustomEvent("themechange"));
}

function picture(...shapes) {
  return svg("svg", { viewBox: "0 0 20 20", width: 18, height: 18, "aria-hidden": "true", focusable: "false", class: "line-icon" }, shapes);
}

function sun() {
  const rays = Array.from({ length: 8 }, (_, n) => {
    const [x, y] = [Math.cos((n * Math.PI) / 4), Math.sin((n * Math.PI) / 4)];
    return svg("line", { x1: 10 + 5.6 * x, y1: 10 + 5.6 * y, x2: 10 + 7.8 * x, y2: 10 + 7.8 * y });
  });
  return picture(svg("circle", { cx: 10, cy: 10, r: 3.2 }), rays);
}

function moon() {
  return picture(svg("path", { d: "M16.5 12.2A7 7 0 0 1 7.8 3.5a7 7 0 1 0 8.7 8.7Z" }));
}
