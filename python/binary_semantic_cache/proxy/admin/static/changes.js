// Everything that changes the cache. Nothing goes without having been shown first.
import { post } from "./api.js";
import { byId, complain, count, element, exactly, tell } from "./elements.js";

let changed = () => {};

export function whenChanged(listener) {
  changed = listener;
}

// A question in the dialog; the promise says whether it was answered with yes.
function confirmed({ title, text, entries = [], word = "", yes }) {
  const dialog = byId("confirm"), agree = byId("confirm-yes"), typed = byId("confirm-word");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-list").replaceChildren(...entries.map((entry) =>
    element("li", {}, `${entry.id}  ${entry.prompt}`)));
  byId("confirm-typed").hidden = !word;
  byId("confirm-typed").querySelector("label").textContent = `Type “${word}” to go on`;
  typed.value = "";
  agree.textContent = yes ?? "Close";
  agree.hidden = !yes;
  agree.disabled = Boolean(word);
  typed.oninput = () => { agree.disabled = typed.value !== word; };
  // Enter would press the first button, which is Cancel.
  typed.onkeydown = (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      if (!agree.disabled) dialog.close("yes");
    }
  };
  // What is cut off can be scrolled to by keyboard too; but who presses Enter at once should change nothing.
  byId("confirm-list").tabIndex = entries.length ? 0 : -1;
  dialog.returnValue = "no";
  dialog.showModal();
  (word ? typed : byId("confirm-no")).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function attempted(work) {
  try {
    complain(null);
    await work();
  } catch (error) {
    complain(error);
  }
  changed();
}

const answers = (n) => (n === 1 ? "1 answer" : `${exactly(n)} answers`);

// First a dry run, whose result is shown; then just that, or nothing.
export function invalidate(target, words) {
  return attempted(async () => {
    const would = await post("/api/invalidate", { ...target, dry_run: true });
    const more = would.count - would.entries.length;
    const yes = await confirmed({
      title: would.count ? `Remove ${answers(would.count)}?` : "Nothing would go",
      text: would.count
        ? `These are the answers ${words}${more ? `; the first ${would.entries.length} of them` : ""}:`
        : `There are no answers ${words}.`,
      entries: would.entries,
      yes: would.count ? `Remove ${answers(would.count)}` : "",
    });
    if (!yes) return;
    const gone = await post("/api/invalidate", { ...target, dry_run: false, expected: would.count });
    tell(`${answers(gone.count)} removed`);
  });
}

export function clear() {
  return attempted(async () => {
    const yes = await confirmed({
      title: "Clear the cache?",
      text: "All answers of all tenants go. Reports of wrong hits stay.",
      word: "everything",
      yes: "Clear the cache",
    });
    if (!yes) return;
    const { removed } = await post("/api/clear", { confirm: "everything" });
    tell(`${answers(removed)} removed`);
  });
}

export function report(request) {
  return attempted(async () => {
    const yes = await confirmed({
      title: "Report this hit as wrong?",
      text: "Its answer is removed, and these two prompts never match again:",
      entries: [{ id: "asked", prompt: request.text ?? "" }, { id: "served", prompt: request.prompt ?? "" }],
      yes: "Report the hit",
    });
    if (!yes) return;
    const { removed } = await post("/api/report", { hit_id: request.hit_id });
    tell(removed ? "reported, and the answer is removed" : "reported; the answer had gone before");
  });
}

export function resetBudget(of) {
  return attempted(async () => {
    const found = `${count(of.wrong)} of ${count(of.judged)} judged hits were wrong. That is forgotten`;
    const yes = await confirmed({
      title: of.stopped ? `Serve ${of.class} by meaning again?` : `Count ${of.class} from nothing?`,
      text: of.stopped
        ? `${found}, and the class is served until the same shows again: change first what made it wrong.`
        : `${found}.`,
      yes: "Reset the class",
    });
    if (!yes) return;
    const { was_stopped: wasStopped } = await post("/api/budget/reset", { class: of.class });
    tell(wasStopped ? `${of.class} is served by meaning again` : `${of.class} is counted from nothing`);
  });
}

byId("remove").addEventListener("submit", (event) => {
  event.preventDefault();
  const by = byId("remove-by").value, value = byId("remove-value").value.trim();
  if (by !== "entries") {
    invalidate({ [by]: value }, by === "tag" ? `with the tag “${value}”` : `of the tenant “${value}”`);
    return;
  }
  const ids = value.split(/[\s,]+/).filter(Boolean).map(Number);
  if (ids.every(Number.isSafeInteger)) invalidate({ entries: ids }, "with these ids");
  else complain(new Error("expected ids, whole numbers between spaces or commas"));
});
byId("clear").addEventListener("submit", (event) => {
  event.preventDefault();
  clear();
});
