// The figures of the chosen minutes.
import { barList, legend, NAMES, OUTCOMES, range, stackedBars } from "./charts.js";
import { byId, bytes, count, duration, element, hourOf, money, percent } from "./elements.js";

let shown = null;

export function showFigures(summary) {
  shown = summary;
  const { window: lately, since_start: ever, cache } = summary;
  byId("about").textContent = about(summary);
  const asked = lately.requests - lately.outcomes.bypass;
  const would = lately.would_be.exact + lately.would_be.semantic;
  const hits = lately.outcomes.exact + lately.outcomes.semantic;
  byId("tiles").replaceChildren(
    summary.mode === "shadow"
      ? tile("Would-be hit rate", percent(asked ? would / asked : null), `${count(would)} of ${count(asked)}, none served`)
      : tile("Hit rate", percent(lately.hit_rate), `${count(hits)} of ${count(asked)} requests`),
    tile("Money saved", summary.has_prices ? money(lately.saved.cost) : "–",
      summary.has_prices ? `${money(ever.saved.cost)} since start` : "no prices are configured"),
    tile("Time saved", duration(lately.saved.seconds), `${duration(ever.saved.seconds)} since start`),
    tile("Tokens saved", count(lately.saved.tokens), `${count(ever.saved.tokens)} since start`),
    cache
      // With several workers this process searches nothing, and has no index.
      ? tile("Entries", count(cache.entries),
        bytes(cache.n_bytes) + (cache.index_bytes ? `, index ${bytes(cache.index_bytes)}` : ""))
      : tile("Entries", "–", "the store does not answer"),
  );
  showTraffic();
  showLatency(lately.latency_seconds);
  byId("misses").replaceChildren(barList(lately.misses, "No misses."));
  byId("vetoes").replaceChildren(barList(lately.vetoes, "No guard objected."));
  byId("not-stored").replaceChildren(barList(lately.not_stored, "All answers were stored."));
}

function about(summary) {
  const serving = { on: "", shadow: "shadow mode: nothing is served, ", off: "the cache is off, " }[summary.mode] ?? "";
  const meaning = summary.semantic ? `semantic hits from cosine ${summary.threshold.toFixed(3)}` : "exact hits only";
  return `${summary.version}, ${serving}${meaning}`;
}

function tile(term, figure, note) {
  return element("div", {}, element("dt", {}, term), element("dd", { class: "figure" }, figure),
    element("dd", { class: "note" }, note));
}

function showTraffic() {
  const place = byId("traffic");
  place.replaceChildren(stackedBars(shown.series, Math.max(280, place.clientWidth)), legend());
  const head = element("tr", {}, ...["From", ...OUTCOMES.map((name) => NAMES[name])].map((name) =>
    element("th", { scope: "col" }, name)));
  const rows = shown.series.filter((point) => OUTCOMES.some((name) => point[name])).reverse().map((point) =>
    element("tr", {}, element("th", { scope: "row" }, hourOf(point.at)),
      ...OUTCOMES.map((name) => element("td", {}, String(point[name])))));
  byId("traffic-table").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

function showLatency(outcomes) {
  const present = OUTCOMES.filter((name) => outcomes[name]);
  const times = present.flatMap((name) => [outcomes[name].p50, outcomes[name].p99]);
  const least = Math.min(...times) * 0.8, most = Math.max(...times) * 1.25;
  const head = element("tr", {}, element("th", { scope: "col" }, "Verdict"),
    ...["Requests", "p50", "p95", "p99"].map((name) => element("th", { scope: "col", class: "number" }, name)),
    element("th", { scope: "col" }, "p50 to p99, logarithmic"));
  const rows = present.map((name) => {
    const of = outcomes[name];
    return element("tr", {},
      element("th", { scope: "row" }, element("span", { class: `verdict ${name}` }, NAMES[name])),
      element("td", { class: "number" }, count(of.requests)),
      ...["p50", "p95", "p99"].map((q) => element("td", { class: "number" }, duration(of[q]))),
      element("td", {}, range(of, least, most, name)));
  });
  byId("latency").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  byId("latency").hidden = !rows.length;
}

addEventListener("resize", () => shown && showTraffic());
