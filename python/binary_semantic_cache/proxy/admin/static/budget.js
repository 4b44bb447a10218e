// What was found of the hits by meaning, class by class, and which classes were stopped.
import { get } from "./api.js";
import { resetBudget } from "./changes.js";
import { button, byId, count, element, percent } from "./elements.js";

export async function showBudget() {
  const { budget } = await get("/api/budget");
  byId("budget-card").hidden = budget === null;
  if (budget === null) return;
  byId("budget-about").textContent =
    `At most ${percent(budget.max_wrong)} of the hits by meaning may be wrong; ${percent(budget.sample)} of them are ` +
    `judged. The bounds hold with ${percent(budget.confidence)}, whenever one looks.`;
  byId("budget").tBodies[0].replaceChildren(...budget.classes.map(row));
  byId("budget").hidden = !budget.classes.length;
  byId("no-budget").hidden = budget.classes.length > 0;
}

function row(of) {
  const share = of.judged ? of.wrong / of.judged : null;
  return element("tr", {},
    element("th", { scope: "row" }, of.class),
    element("td", {}, element("span", { class: `verdict ${of.stopped ? "stopped" : "serving"}` },
      of.stopped ? "stopped: exact matches only" : "served by meaning")),
    element("td", { class: "number", "data-label": "judged" }, count(of.judged)),
    element("td", { class: "number", "data-label": "wrong" }, count(of.wrong)),
    element("td", { class: "number", "data-label": "share" }, percent(share)),
    element("td", { class: "number", "data-label": "bounds" }, `${percent(of.low)} to ${percent(of.high)}`),
    element("td", { class: "end" }, button("Reset…", () => resetBudget(of), {
      class: "small", "aria-label": `Reset the budget of ${of.class}`,
    })));
}
