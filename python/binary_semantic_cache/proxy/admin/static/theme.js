// Light or dark: as the system says, until somebody chooses.
const KEY = "bsc-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function kept() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be forbidden; the page works without
  }
}

function show() {
  const chosen = kept();
  if (chosen) document.documentElement.dataset.theme = chosen;
  const dark = chosen ? chosen === "dark" : system.matches;
  document.getElementById("theme")?.setAttribute("aria-pressed", String(dark));
  return dark;
}

document.getElementById("theme")?.addEventListener("click", () => {
  const next = show() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    document.getElementById("theme").setAttribute("aria-pressed", String(next === "dark"));
    return;
  }
  show();
});
system.addEventListener("change", show);
show();
