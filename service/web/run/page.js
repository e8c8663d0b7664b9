// A run's page: its timeline and its curves share their cursor, and what is looked at stands in the address.
import { draw, mount } from "../shell/chart.js";
import { keys } from "../shell/keys.js";
import { Timeline } from "./timeline.js";

const run = document.getElementById("run-head").dataset.run;
const element = document.querySelector(".timeline");
const timeline = element && new Timeline(element);

// -- the timeline

if (timeline) {
  const key = (event) => timeline.keys(event);
  keys("Samples", {
    "ArrowLeft ArrowRight": ["one grid back or on; with Shift ten", key], "Home End": ["the first, the newest (from the scrubber)", key], " ": ["play (from the scrubber)", key],
    Enter: ["one tile large (from the picture)", key], "[ ]": ["the tile before, behind it", key], Escape: ["all tiles", key], g: ["go to a step", key],
  });
  element.addEventListener("agon:step", ({ detail }) => {
    if (detail.by !== "follower" && detail.images !== null) document.dispatchEvent(new CustomEvent("agon:cursor", { detail: { images: detail.images + before(), from: element } }));
    clearTimeout(noting);
    noting = setTimeout(() => note(detail.step), 300);
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-step]");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    timeline.go(timeline.find("step", Number(link.dataset.step)), "person");
  });
  document.addEventListener("agon:cursor", ({ detail }) => detail.from !== element && timeline.at(detail.images - before()));
}
let noting;
function note(step) {
  const url = new URL(location.href);
  url.searchParams.set("step", step);
  url.searchParams.delete("by");
  history.replaceState(history.state, "", url);
  for (const link of document.querySelectorAll("#run-tabs a")) {
    const to = new URL(link.href);
    to.searchParams.set("step", step);
    link.href = to;
  }
}

// -- curves

const place = document.getElementById("run-curves");
const pressed = (name) => place.querySelector(`[data-${name}]`)?.ariaPressed === "true";
const before = () => (pressed("lineage") ? Number(place.dataset.offset) : 0);
const GROUPS = {
  losses: (name) => name.endsWith("/loss"),
  accuracy: (name) => name.includes("accuracy"),
  sentinel: (name) => /^sentinel\/(diversity|d_gap)/.test(name),
  sigma: (name) => name.startsWith("sentinel/"),
  speed: (name) => name === "images_per_second",
};
const SPREAD = /_(spread|std|deviation)$/;
const PAUSE = 5000;
const seen = new Set();
let curves = null;
let due = null;

function group(name, curve, scored) {
  if (scored) return Math.max(...curve.greatest) <= 1 && Math.min(...curve.least) >= 0 ? "shares" : "scores";
  return Object.keys(GROUPS).find((one) => GROUPS[one](name)) ?? "others";
}

function series(of) {
  const found = [];
  for (const [told, scored] of [[of.training, false], [of.scores, true]]) {
    for (const [name, curve] of Object.entries(told)) {
      if (scored && SPREAD.test(name)) continue;
      const spread = scored && Object.keys(told).find((other) => SPREAD.test(other) && other.replace(SPREAD, "") === name);
      const band = spread && told[spread].images.length === curve.images.length
        ? { least: curve.mean.map((value, at) => value - told[spread].mean[at]), greatest: curve.mean.map((value, at) => value + told[spread].mean[at]) }
        : scored ? {} : { least: curve.least, greatest: curve.greatest };
      found.push({ group: group(name, curve, scored), label: name.replace("images_per_second", "images/s"), images: curve.images, mean: curve.mean, ...band });
    }
  }
  return found;
}

async function load() {
  const answer = await fetch(`/v1/jobs/${run}/curves?buckets=300${pressed("lineage") ? "&lineage=true" : ""}`, { headers: { Accept: "application/json" } });
  return answer.ok ? series(await answer.json()) : [];
}

function show(figure, found) {
  const own = found.filter((one) => one.group === figure.dataset.group);
  figure.hidden = !own.length;
  const marks = JSON.parse(timeline?.source.dataset.marks || "[]").map(([images, kind]) => ({ images: images + before(), colour: kind === "checkpoint" ? "--line" : "--warn" }));
  if (own.length) draw(figure, { series: own, marks, log: pressed("log") && !["accuracy", "shares", "speed"].includes(figure.dataset.group) });
}

async function all() {
  due = null;
  const found = await (curves = load());
  place.querySelector("[data-none]").hidden = found.length > 0;
  for (const figure of place.querySelectorAll(".chart")) {
    if (seen.has(figure)) show(figure, found);
    else figure.hidden = !found.some((one) => one.group === figure.dataset.group);
  }
}

place.addEventListener("click", ({ target }) => {
  if (!target.matches("[data-log], [data-lineage]")) return;
  target.ariaPressed = String(target.ariaPressed !== "true");
  all();
});
document.addEventListener("agon:told", ({ detail }) => {
  if (["progress", "scores", "observed", "rolled-back", "started"].includes(detail.kind) && !document.hidden) due ??= setTimeout(all, PAUSE);
});
curves = load();
await all();
mount(place, async (figure) => {
  seen.add(figure);
  show(figure, await curves);
});
