// The theme a person chose, before anything is drawn. It is the only script that is no module, so that the page
// never flashes in the other theme. widgets/theme.js writes what is read here.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is forbidden: the theme is the system's.
}
