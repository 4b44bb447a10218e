// The last requests. A row opens to what was decided, and what would be decided now.
import { get, post } from "./api.js";
import { NAMES } from "./charts.js";
import { invalidate, report } from "./changes.js";
import { button, byId, complain, duration, element, facts, money, similarity, timeOf } from "./elements.js";

const STEP = 20;
const MOST = 500;
let limit = STEP;
const rows = new Map(); // id of a request -> its row; what is open stays open

const body = () => byId("recent").tBodies[0];

export async function showRequests() {
  const outcome = byId("outcome").value;
  const { requests } = await get("/api/recent", { limit, outcome });
  if (outcome !== byId("outcome").value) return;
  const listed = new Set(requests.map((request) => request.id));
  for (const [id, row] of rows) {
    if (listed.has(id) || row.more) continue;
    row.remove();
    rows.delete(id);
  }
  // The newest first; rows that are there already are not touched, so that focus and reading go on.
  let before = body().firstChild;
  for (const request of requests) {
    const known = rows.get(request.id);
    if (known) {
      before = (known.more ?? known).nextSibling;
      continue;
    }
    const row = requestRow(request);
    rows.set(request.id, row);
    body().insertBefore(row, before);
  }
  byId("no-recent").hidden = rows.size > 0;
  byId("older").hidden = requests.length < limit || limit >= MOST;
}

export function showOlder() {
  limit = Math.min(MOST, limit + STEP);
  return showRequests();
}

export function forgetRequests() {
  rows.clear();
  body().replaceChildren();
}

function requestRow(request) {
  const row = element("tr", {},
    element("td", { class: "time" }, timeOf(request.began_at)),
    element("td", {}, element("span", { class: `verdict ${request.outcome}` }, NAMES[request.outcome]),
      request.reason ? element("small", {}, shortly(request)) : null),
    element("td", { class: "text" }, element("span", {}, request.text || `${request.method} ${request.path}`)),
    element("td", { class: "number" }, similarity(request.similarity)),
    element("td", { class: "number" }, duration(request.total_seconds)),
    element("td", { class: "tenant" }, request.tenant));
  const toggle = button("Explain", () => open(row, toggle, request), {
    class: "small", "aria-expanded": "false", "aria-label": `Explain request ${request.id}`,
  });
  row.append(element("td", { class: "end" }, toggle));
  return row;
}

function shortly(request) {
  return request.reason.replaceAll("_", " ") + (request.would_be ? `: ${request.would_be}` : "");
}

async function open(row, toggle, request) {
  if (row.more) {
    row.more.remove();
    row.more = undefined;
    toggle.setAttribute("aria-expanded", "false");
    return;
  }
  const place = element("td", { colspan: 7 });
  row.more = element("tr", { class: "more" }, place);
  row.after(row.more);
  toggle.setAttribute("aria-expanded", "true");
  place.append(told(request), actions(request));
  if (!request.can_explain) return;
  try {
    const explanation = await post("/api/explain", { recent: request.id });
    // Below the buttons: what comes late must not push them away from under a pointer.
    place.append(explained(explanation));
  } catch (error) {
    complain(error);
  }
}

function told(request) {
  const saved = request.saved;
  return facts([
    ["Asked", request.text],
    [request.would_be ? "Would serve" : "Served from", request.prompt],
    ["Request", `${request.method} ${request.path}, ${request.status}, ${request.model}${request.stream ? ", stream" : ""}`],
    ["Why no hit", [request.reason, request.detail].filter(Boolean).join(": ")],
    ["Guards", request.guards.join(", ")],
    ["Entry", request.entry_id],
    ["Age", request.age_seconds === null ? "" : duration(request.age_seconds)],
    ["Took", `${duration(request.total_seconds)}, lookup ${duration(request.lookup_seconds)}` +
      (request.upstream_seconds === null ? "" : `, upstream ${duration(request.upstream_seconds)}`)],
    ["Saved", saved && `${saved.tokens} tokens, ${duration(saved.seconds)}` + (saved.cost ? `, money ${money(saved.cost)}` : "")],
    ["Stored", request.stored],
  ]);
}

function explained(explanation) {
  const { verdict, candidates } = explanation;
  const now = verdict.hit
    ? `${verdict.hit} hit, entry ${verdict.entry_id}, similarity ${similarity(verdict.similarity)}`
    : `miss: ${verdict.reason.replaceAll("_", " ")}${verdict.detail ? ` (${verdict.detail})` : ""}`;
  const made = element("div", { class: "candidates" }, facts([
    ["A lookup now", now],
    ["Policy", explanation.policy && `${explanation.policy}: exact matches only`],
    ["Exact only", explanation.exact_only],
    ["Learned", explanation.learned],
    ["Threshold", `cosine ${explanation.threshold.toFixed(3)}, within ${explanation.radius} bits`],
  ]));
  if (!candidates.length) return made;
  const isJudged = candidates.some((candidate) => candidate.probability !== null);
  const names = ["Candidate", "Cosine", "Bits", ...(isJudged ? ["Judge"] : []), "Prompt", "Verdict"];
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  const lines = candidates.map((candidate) => element("tr", {},
    element("th", { scope: "row" }, String(candidate.entry_id)),
    element("td", {}, similarity(candidate.similarity)),
    element("td", {}, String(candidate.distance)),
    isJudged ? element("td", {}, similarity(candidate.probability)) : null,
    element("td", { class: "text" }, candidate.prompt ?? ""),
    element("td", {}, candidate.vetoes.map((veto) => `${veto.guard}: ${veto.detail}`).join("; ")
      || (candidate.refused ?? "no objection").replaceAll("_", " "))));
  const table = element("table", {}, element("caption", { class: "out-of-sight" }, "Candidates"),
    element("thead", {}, head), element("tbody", {}, ...lines));
  made.append(element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Candidates" }, table));
  return made;
}

function actions(request) {
  const place = element("div", { class: "buttons" });
  if (request.hit_id && request.entry_id !== null) place.append(button("Report as wrong…", () => report(request)));
  if (request.entry_id !== null) {
    place.append(button("Remove the answer…", () =>
      invalidate({ entries: [request.entry_id] }, "that was served")));
  } else if (request.can_explain) {
    place.append(button("Remove its answer…", () => invalidate({ recent: request.id }, "to this very prompt")));
  }
  return place;
}
