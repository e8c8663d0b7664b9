// Follows what runs tell, in one stream a page, and keeps the parts of the page that are `data-live` as the server has them.
//
// `<body data-events="run=j-1&run=j-2">` is the query of GET /v1/events. When something is told, the page is fetched again (304 if nothing
// of it has changed) and each `[data-live][id]` is morphed into the new one. What a person holds stays: focus, an open `<details>` or
// `<dialog>`, a selection, what is written or ticked; an element with `data-keep` is never touched, nor a dialog while it is open, whose
// form says with If-Match what the person has seen. Each message is
// `agon:told` on the document, {kind, data}, and whoever shows it themselves says preventDefault(): then nothing is fetched. A page that was
// brought up to date is `agon:fresh`. `<body data-look="…">` is what is fetched, where that isn't the page's own address.
//
// A hidden page lets go of its stream: browsers have six connections to a host.
const KINDS = [
  "state", "waiting", "started", "tracked", "progress", "samples", "checkpoint", "scores", "published", "report", "warning", "observed",
  "rolled-back", "limit", "restarted", "trial", "finished", "failed",
];
const SOON = 250; // ms: what is told together is shown together
const PAUSE = 1000 * (document.body.dataset.pause || 2); // between two looks
let stream = null;
let due = null;
let looked = 0;

export function live() {
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : wake()));
  if (!document.hidden) follow();
}

/** Bring the page up to date now; resolves when it is. */
export async function refresh(url = document.body.dataset.look || location.href) {
  clearTimeout(due);
  due = null;
  looked = Date.now();
  let answer;
  try {
    answer = await fetch(url, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  } catch {
    return say("away", "no connection");
  }
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") return say("away", "signed out: load the page again");
  if (!answer.ok) return say("away", `the server says ${answer.status}`);
  take(new DOMParser().parseFromString(await answer.text(), "text/html"));
}

/** Take the live parts of that document. */
export function take(fresh) {
  for (const old of document.querySelectorAll("[data-live][id]")) {
    const now = fresh.getElementById(old.id);
    if (now) morph(old, now);
  }
  document.dispatchEvent(new CustomEvent("agon:fresh"));
}

/** Make `old` what `now` is, and touch nothing that a person holds. */
export function morph(old, now) {
  window.Idiomorph.morph(old, now, {
    ignoreActiveValue: true,
    restoreFocus: true,
    callbacks: {
      beforeNodeMorphed: (node) => !(node instanceof Element && node.matches("[data-keep], dialog[open]")),
      beforeNodeRemoved: (node) => !(node instanceof Element && (node.hasAttribute("data-keep") || holds(node))),
      beforeAttributeUpdated: (name, node) => !KEPT[name]?.(node),
    },
  });
}

const KEPT = {
  open: (node) => node.matches("details, dialog"),
  value: (node) => node.matches("input, textarea, select"),
  checked: (node) => node.matches("input"),
};
const holds = (node) => node.contains(document.activeElement) && document.activeElement !== document.body;

function soon() {
  if (due || document.hidden) return;
  due = setTimeout(refresh, Math.max(SOON, looked + PAUSE - Date.now()));
}

function follow() {
  const query = document.body.dataset.events;
  if (query === undefined || stream) return;
  stream = new EventSource(`/v1/events?${query}`);
  stream.onopen = () => say("live", "live");
  stream.onerror = () => say("away", stream?.readyState === EventSource.CLOSED ? "no longer followed" : "reconnecting");
  for (const kind of KINDS) {
    stream.addEventListener(kind, (event) => {
      const told = new CustomEvent("agon:told", { cancelable: true, detail: { kind, data: JSON.parse(event.data) } });
      if (document.dispatchEvent(told)) soon();
    });
  }
  stream.addEventListener("cut", () => (rest(), wake()));
}

function rest() {
  stream?.close();
  stream = null;
}

function wake() {
  refresh();
  follow();
}

function say(state, text) {
  const place = document.getElementById("live");
  if (!place || (place.dataset.state === state && place.textContent === text)) return;
  place.dataset.state = state;
  place.textContent = text;
}
