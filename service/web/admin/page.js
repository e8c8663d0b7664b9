// The administration: a secret is shown once, what nobody needs is looked for and removed, the audit is followed.
import { ask, sure, toast } from "../shell/act.js";
import { refresh } from "../shell/live.js";

const make = (name, values = {}, ...inside) => {
  const made = Object.assign(document.createElement(name), values);
  made.append(...inside);
  return made;
};

// -- secrets: they are in a dialog alone, and go with it

document.addEventListener("agon:done", (event) => {
  const kind = event.target.dataset.secret;
  const secret = kind && event.detail?.[kind];
  if (!secret) return;
  event.target.reset();
  const copy = make("button", { type: "button", className: "main", textContent: "Copy" });
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(secret);
    copy.textContent = "Copied";
  });
  const close = make("form", { method: "dialog" }, make("button", { textContent: "I have it" }));
  const said = make("p", { textContent: "This is shown once, and is kept nowhere here. Whoever has it can do what it may." });
  const row = make("div", { className: "row" }, copy, close);
  const dialog = make("dialog", { className: "secret", ariaLabel: "The secret" }, make("h2", { textContent: "The secret" }), make("code", { textContent: secret }), said, row);
  const forget = () => dialog.remove();
  dialog.addEventListener("close", forget);
  addEventListener("pagehide", forget, { once: true });
  document.body.append(dialog);
  dialog.showModal();
});

// -- garbage: a call looks at some runs, so there are as many as it takes

const MOST_ROWS = 200;
const place = document.getElementById("garbage");

async function collect(days, dry) {
  const found = { items: [], bytes: 0, count: 0, left: [], leaving: 0 };
  for (let cursor = 0; cursor !== null; ) {
    place.textContent = `${dry ? "Looking" : "Removing"} … ${size(found.bytes)}`;
    const some = await ask("POST", "/v1/gc", { dry_run: dry, cursor, ...(days === "" ? {} : { samples_days: Number(days) }) });
    found.items.push(...some.items.slice(0, MOST_ROWS - found.items.length));
    found.count += some.items.length;
    found.bytes += some.bytes;
    found.left.push(...some.left);
    found.leaving += some.leaving ?? 0;
    cursor = some.next_cursor;
  }
  return found;
}

document.getElementById("gc")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const days = document.getElementById("gc-days").value;
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    show(await collect(days, true), days);
  } catch (problem) {
    place.replaceChildren(make("p", { className: "wrong", textContent: problem.detail }));
  }
  button.disabled = false;
});

function show(found, days) {
  if (!found.count) return place.replaceChildren(make("p", { textContent: "There is nothing that nobody needs." }));
  const go = make("button", { type: "button", className: "danger", textContent: `Remove ${found.count === 1 ? "it" : `all ${found.count}`}: ${size(found.bytes)}` });
  go.addEventListener("click", () => remove(go, found, days));
  const head = make("tr", {}, ...["What", "Whose", "Size", "Why it can go"].map((text) => make("th", { scope: "col", textContent: text })));
  const rows = found.items.map((item) =>
    make("tr", {}, ...[`${item.what}${item.step == null ? "" : ` of step ${item.step}`}`, [item.run, item.trial].filter(Boolean).join("/") || "–", size(item.bytes), item.reason].map((text) => make("td", { textContent: text }))));
  const table = make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  const more = found.count > found.items.length ? [make("p", { className: "faint", textContent: `and ${found.count - found.items.length} more` })] : [];
  const later = found.leaving ? [make("p", { className: "faint", textContent: `${found.leaving} runs have ended whose drivers aren't gone yet: look again later.` })] : [];
  place.replaceChildren(go, table, ...more, ...later);
}

async function remove(button, found, days) {
  if (!(await sure(`Remove ${size(found.bytes)} for good?`))) return;
  button.disabled = true;
  try {
    const gone = await collect(days, false);
    toast(`${size(gone.bytes)} are free again`);
    place.replaceChildren(...gone.left.map((text) => make("p", { className: "wrong", textContent: text })));
    await refresh();
  } catch (problem) {
    place.replaceChildren(make("p", { className: "wrong", textContent: problem.detail }));
  }
}

function size(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < 4) (count /= 1000), (unit += 1);
  return `${count.toFixed(unit < 3 ? 0 : 1)} ${units[unit]}`;
}

// -- the audit, followed if someone wants to: then what is new comes by itself

const follow = document.querySelector("[data-follow]");
let stream = null;

follow?.addEventListener("click", () => {
  const on = !stream;
  follow.setAttribute("aria-pressed", String(on));
  if (!on) return stop();
  stream = new EventSource(follow.dataset.follow);
  let due = null;
  stream.addEventListener("audit", () => (due ??= setTimeout(() => ((due = null), refresh()), 500)));
});

function stop() {
  stream?.close();
  stream = null;
}
