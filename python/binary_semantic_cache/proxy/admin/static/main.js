// The page asks for its figures every few seconds while somebody looks at it.
import { get, post } from "./api.js";
import { showBudget } from "./budget.js";
import { invalidate, whenChanged } from "./changes.js";
import { button, byId, bytes, complain, count, duration, element, money, tell, timeOf } from "./elements.js";
import { showFigures } from "./figures.js";
import { forgetRequests, showOlder, showRequests } from "./requests.js";

const EVERY = 5000;
let paused = false;
let asking = false;
let changedMeanwhile = false;
let lost = false;

async function showEntries() {
  const { entries } = await get("/api/entries", { by: byId("by").value, limit: 10 });
  byId("entries").tBodies[0].replaceChildren(...entries.map((entry) => element("tr", {},
    element("th", { scope: "row" }, String(entry.id)),
    element("td", { class: "text" }, element("span", {}, entry.prompt)),
    element("td", { class: "number", "data-label": "hits" }, count(entry.hits)),
    element("td", { class: "number", "data-label": "money" }, money(entry.saved.cost)),
    element("td", { class: "number", "data-label": "time" }, duration(entry.saved.seconds)),
    element("td", { class: "number", "data-label": "size" }, bytes(entry.n_bytes)),
    element("td", { class: "end" }, button("Remove…", () =>
      invalidate({ entries: [entry.id] }, `of entry ${entry.id}`), {
      class: "small", "aria-label": `Remove entry ${entry.id}`,
    })))));
  byId("no-entries").hidden = entries.length > 0;
}

async function showAudit() {
  const { changes } = await get("/api/audit", { limit: 20 });
  byId("audit").replaceChildren(...changes.map((deed) => element("li", {},
    element("time", { datetime: new Date(1000 * deed.at).toISOString() }, timeOf(deed.at)),
    `${deed.action} ${deed.target}: ${deed.outcome}, by ${deed.who}`)));
  byId("audit").hidden = !changes.length;
  byId("no-audit").hidden = changes.length > 0;
}

const keepsFocus = (place) => byId(place).contains(document.activeElement);

// A button that is about to be pressed stays where it is, unless what it is for may be gone.
async function showUnlessHeld(place, show, isChanged) {
  const wasThere = keepsFocus(place);
  if (isChanged || !wasThere) await show();
  if (wasThere && !keepsFocus(place)) byId(place).parentElement.focus();
}

async function refresh(isChanged = false) {
  if (asking) {
    // What is on its way may be older than the change.
    changedMeanwhile ||= isChanged;
    return;
  }
  asking = true;
  try {
    showFigures(await get("/api/summary", { minutes: byId("minutes").value }));
    await showRequests();
    await showUnlessHeld("entries", showEntries, isChanged);
    await showUnlessHeld("budget", showBudget, isChanged);
    await showAudit();
    if (lost) complain(null);
    lost = false;
  } catch (error) {
    lost = true;
    complain(new Error(`The figures are not up to date: ${error.message}`));
  } finally {
    asking = false;
    document.body.dataset.shown = String(Number(document.body.dataset.shown ?? 0) + 1);
  }
  if (changedMeanwhile) {
    changedMeanwhile = false;
    await refresh(true);
  }
}

byId("minutes").addEventListener("change", () => refresh());
byId("by").addEventListener("change", () => showEntries().catch(complain));
byId("outcome").addEventListener("change", () => {
  forgetRequests();
  showRequests().catch(complain);
});
byId("older").addEventListener("click", () => showOlder().catch(complain));
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  tell(paused ? "paused" : "going on");
});
byId("log-out").addEventListener("click", async () => {
  await post("/logout").catch(() => {});
  location.assign("/login");
});
document.addEventListener("visibilitychange", () => document.hidden || paused || refresh());
setInterval(() => document.hidden || paused || refresh(), EVERY);
whenChanged(() => refresh(true));
refresh();
