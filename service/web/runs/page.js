// The table of runs: rows go on where they are, what is ticked is paused, resumed, cancelled or compared, and keys do all of it.
import { ask, sure, toast } from "../shell/act.js";
import { short } from "../shell/figures.js";
import { keys } from "../shell/keys.js";
import { refresh } from "../shell/live.js";
import { coarse } from "../shell/times.js";

const all = (selector) => [...document.querySelectorAll(selector)];
const row = (id) => document.getElementById(`row-${id}`);
const bar = document.getElementById("ticked");
const DONE = { pause: "will be paused", resume: "go on", cancel: "will be cancelled" };

// -- live: progress and pictures are put where they belong; all else the server says better

document.addEventListener("agon:told", (event) => {
  const { kind, data } = event.detail;
  const shown = row(data.run.id);
  if (!shown) return kind === "state" || event.preventDefault();
  if (kind === "samples") document.getElementById(`drawn-${data.run.id}`).src = `/runs/${data.run.id}/thumbnail?step=${data.step}`;
  const far = shown.querySelector("progress");
  if (kind === "progress" && far && data.data.total_images) go(far, shown.querySelector("[data-far]"), data);
  else if (kind !== "samples" && kind !== "observed") return;
  event.preventDefault();
});

function go(bar, text, { images, data }) {
  const share = Math.min(1, images / data.total_images);
  bar.value = share;
  const left = data.eta_seconds == null ? "" : `, ${coarse(data.eta_seconds)} left`;
  text.textContent = `${share < 1 ? Math.min(99, Math.floor(share * 100)) : 100} % of ${short(data.total_images)}${left}`;
}

// -- ticks

const ticked = () => all("[data-tick]:checked");

function count() {
  const some = ticked().length;
  bar.querySelector("[data-count]").textContent = some ? `${some} ticked` : "None ticked";
  for (const button of all("[data-bulk], [data-compare]")) button.disabled = button.matches("[data-compare]") ? some < 2 || some > 50 : !some;
  const every = document.querySelector("[data-tick-all]");
  const shown = all("[data-tick]").length;
  every.checked = some > 0 && some === shown;
  every.indeterminate = some > 0 && some < shown;
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-tick-all]")) for (const box of all("[data-tick]")) box.checked = event.target.checked;
  if (event.target.matches("[data-tick], [data-tick-all]")) count();
});
document.addEventListener("agon:fresh", () => bar && count());

async function bulk(button) {
  const what = button.dataset.bulk;
  const some = ticked().map((box) => row(box.value));
  if (what === "cancel" && !(await sure(`Cancel ${some.length === 1 ? some[0].dataset.name : `${some.length} runs`}? They save a checkpoint and end.`))) return;
  for (const other of all("[data-bulk]")) other.disabled = true;
  const refused = [];
  for (const one of some) {
    try {
      await ask("POST", `/v1/jobs/${one.dataset.run}/${what}`);
    } catch (problem) {
      refused.push(`${one.dataset.name}: ${problem.detail}`);
    }
  }
  const place = document.getElementById("refused");
  place.hidden = !refused.length;
  place.replaceChildren(...refused.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
  if (refused.length < some.length) toast(`${some.length - refused.length} of ${some.length} ${DONE[what]}`);
  await refresh();
  count();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-bulk]");
  if (button) bulk(button);
});

// -- keys

const held = () => document.activeElement?.closest?.("tr[data-run]");

function move(by) {
  const links = all("#rows .open");
  const at = links.indexOf(held()?.querySelector(".open"));
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
  next?.focus();
  next?.closest("tr").scrollIntoView({ block: "nearest" });
}

keys("Runs", {
  j: ["the next run", () => move(1)],
  k: ["the run before", () => move(-1)],
  ArrowDown: ["the next run, once one is chosen", () => (held() ? move(1) : false)],
  ArrowUp: ["the run before", () => (held() ? move(-1) : false)],
  x: ["tick it", () => held()?.querySelector("[data-tick]").click()],
  Enter: ["open it", (event) => (held() && !event.target.closest("a, button") ? held().querySelector(".open").click() : false)],
  "/": ["filter", () => document.getElementById("f-name").focus()],
});
if (bar) count();
