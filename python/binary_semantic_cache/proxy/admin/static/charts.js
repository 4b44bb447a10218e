// Small charts, drawn as SVG. What they show stands beside them in numbers too.
import { count, duration, element, hourOf, svg } from "./elements.js";

export const OUTCOMES = ["exact", "semantic", "miss", "bypass"];
export const NAMES = { exact: "exact hit", semantic: "semantic hit", miss: "miss", bypass: "bypass" };

// A round number not below `n` whose half is whole.
function roundUp(n) {
  if (n <= 10) return Math.max(4, n + (n % 2));
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= n);
}

const LEAST_STEP = 8;

// Two steps in one, where there is no room for each.
function halved(series) {
  const pairs = [];
  for (let i = 0; i < series.length; i += 2) {
    const [a, b] = [series[i], series[i + 1]];
    const sums = OUTCOMES.map((name) => [name, a[name] + (b?.[name] ?? 0)]);
    pairs.push({ at: a.at, ...Object.fromEntries(sums) });
  }
  return pairs;
}

// Requests a step of time, stacked by outcome.
export function stackedBars(series, width) {
  const height = 190, left = 44, bottom = 24, top = 8;
  while (series.length * LEAST_STEP > width - left) series = halved(series);
  const totals = series.map((point) => OUTCOMES.reduce((sum, name) => sum + point[name], 0));
  const most = roundUp(Math.max(...totals));
  const y = (n) => top + (height - top - bottom) * (1 - n / most);
  const step = (width - left) / series.length;
  const sum = totals.reduce((a, b) => a + b, 0);
  const drawn = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, height, role: "img",
    "aria-label": `${sum} requests in ${series.length} steps, at most ${Math.max(...totals)} in one`,
  });
  for (const share of [0, 0.5, 1]) {
    const at = y(share * most);
    drawn.append(svg("line", { class: "grid", x1: left, x2: width, y1: at, y2: at }));
    drawn.append(svg("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, count(share * most)));
  }
  series.forEach((point, i) => {
    const group = svg("g", {}, svg("title", {}, tooltip(point)));
    let below = 0;
    for (const name of OUTCOMES) {
      if (!point[name]) continue;
      const from = y(below), to = y((below += point[name]));
      group.append(svg("rect", {
        class: `mark ${name}`, x: left + i * step + step * 0.1, width: step * 0.8, y: to, height: from - to,
      }));
    }
    drawn.append(group);
  });
  const every = Math.ceil(series.length / Math.max(2, Math.floor((width - left) / 90)));
  for (let i = 0; i < series.length; i += every) {
    if (left + i * step > width - 40) break;
    drawn.append(svg("text", { x: left + i * step, y: height - 6 }, hourOf(series[i].at)));
  }
  return drawn;
}

function tooltip(point) {
  return [hourOf(point.at), ...OUTCOMES.map((name) => `${NAMES[name]}: ${point[name]}`)].join("\n");
}

export function legend() {
  const keys = OUTCOMES.map((name) => element("li", { class: `key ${name}` }, NAMES[name]));
  return element("ul", { class: "legend" }, ...keys);
}

// Median, 95th and 99th percentile of one outcome on a logarithmic scale that all rows share.
export function range(times, least, most, outcome) {
  const width = 400, height = 22;
  const x = (seconds) => 8 + (width - 16) * (Math.log(seconds / least) / Math.log(most / least || Math.E));
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": "true" });
  drawn.append(svg("line", { class: "grid", x1: 0, x2: width, y1: 11, y2: 11 }));
  drawn.append(svg("line", { class: `mark ${outcome}`, x1: x(times.p50), x2: x(times.p99), y1: 11, y2: 11 }));
  for (const [name, r] of [["p50", 6], ["p95", 4], ["p99", 3]]) {
    const title = svg("title", {}, `${name} ${duration(times[name])}`);
    drawn.append(svg("circle", { class: `mark ${outcome}`, cx: x(times[name]), cy: 11, r }, title));
  }
  return drawn;
}

// Names and counts, the greatest first.
export function barList(counts, nothing) {
  const rows = Object.entries(counts);
  if (!rows.length) return element("p", { class: "empty" }, nothing);
  const most = Math.max(...rows.map(([, n]) => n));
  return element("ul", { class: "bars" }, ...rows.map(([name, n]) => element("li", {},
    element("span", { class: "name" }, name.replaceAll("_", " ")),
    element("span", { class: "number" }, count(n)),
    svg("svg", { viewBox: "0 0 100 5", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "rail", width: 100, height: 5 }),
      svg("rect", { class: "fill", width: (100 * n) / most, height: 5 })))));
}
