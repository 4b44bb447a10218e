// Elements and words for figures. Text gets into the page as text alone: nothing here parses HTML.

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function button(label, onclick, attributes = {}) {
  return element("button", { type: "button", ...attributes, onclick }, label);
}

// Terms and what they say, but for those that say nothing.
export function facts(pairs) {
  const list = element("dl", { class: "facts" });
  for (const [term, said] of pairs) {
    if (said === null || said === undefined || said === "") continue;
    list.append(element("dt", {}, term), element("dd", {}, said instanceof Node ? said : String(said)));
  }
  return list;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

// Of what is about to go, where 10,010 must not be 10K.
export const exactly = (n) => whole.format(n);
export const count = (n) => (n < 10000 ? whole.format(n) : short.format(n));
export const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(share < 0.9995 ? 1 : 0)} %`);
export const similarity = (value) => (value === null ? "" : value.toFixed(3));
export const timeOf = (seconds) => clock.format(new Date(1000 * seconds));
export const hourOf = (seconds) => hours.format(new Date(1000 * seconds));

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const steps = [[1e-3, 1e6, "µs"], [1, 1e3, "ms"], [120, 1, "s"], [7200, 1 / 60, "min"], [Infinity, 1 / 3600, "h"]];
  const [, factor, unit] = steps.find(([below]) => seconds < below);
  const value = seconds * factor;
  return `${value >= 1000 ? whole.format(value) : Number(value.toPrecision(3))} ${seconds === 0 ? "s" : unit}`;
}

export function money(cost) {
  if (!cost) return "0";
  return cost < 0.01 ? cost.toPrecision(2) : new Intl.NumberFormat("en", { maximumFractionDigits: 2 }).format(cost);
}

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = n < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
  return `${Number((n / 1024 ** power).toPrecision(3))} ${units[power]}`;
}

// Said to those who hear the page.
export function tell(message) {
  byId("told").textContent = message;
}

export function complain(error) {
  byId("trouble").textContent = error === null ? "" : error.message ?? String(error);
}
