// Runs in step: whoever is scrubbed, played or zoomed leads, and all others go to their grid nearest to as many images, or to the same tile.
import { Timeline } from "../run/timeline.js";
import { draw, mount } from "../shell/chart.js";
import { keys } from "../shell/keys.js";

const id = (name) => document.getElementById(name);
const sides = [...document.querySelectorAll(".side")].map((element) => {
  const timeline = element.querySelector(".timeline");
  return { ...element.dataset, element, offset: Number(element.dataset.offset), line: timeline && new Timeline(timeline) };
});
const drawn = sides.filter((side) => side.line);
const scrub = id("all");
let now = Number(scrub?.value);
let timer = null;
let noting = null;

// -- in step

function go(images, leader) {
  now = images;
  for (const { line, offset } of drawn) if (line.element !== leader) line.at(images - offset);
  if (leader !== scrub) scrub.value = images;
  scrub.setAttribute("aria-valuetext", `${Math.round(images).toLocaleString("en")} images`);
  document.querySelector('[name="at"]').value = Math.round(images);
  swipe();
  if (leader !== null) document.dispatchEvent(new CustomEvent("agon:cursor", { detail: { images, from: scrub } }));
  clearTimeout(noting);
  noting = setTimeout(() => {
    const url = new URL(location.href);
    url.searchParams.set("at", Math.round(now));
    history.replaceState(null, "", url);
  }, 300);
}

function step(by) {
  const places = drawn.flatMap(({ line, offset }) => line.grids.map((grid) => line.place(grid) + offset));
  const next = by > 0 ? Math.min(...places.filter((place) => place > now + 0.5)) : Math.max(...places.filter((place) => place < now - 0.5));
  if (Number.isFinite(next)) go(next);
  return Number.isFinite(next);
}

function play(on) {
  clearInterval(timer);
  timer = null;
  Object.assign(document.querySelector('[data-do="play"]'), { textContent: on ? "Pause" : "Play", ariaPressed: String(on) });
  if (!on) return;
  if (now >= Number(scrub.max)) go(0);
  timer = setInterval(() => document.querySelector(".stage[data-waits]") || step(1) || play(false), 250);
}

const zoom = (tile, leader) => drawn.forEach(({ line }) => line.element !== leader && line.zoom(tile));
const DO = { back: () => step(-1), on: () => step(1), play: () => play(!timer) };

if (scrub) {
  for (const { line } of drawn) line.at(now - sides.find((side) => side.line === line).offset);
  scrub.addEventListener("input", () => (play(false), go(Number(scrub.value), scrub)));
  document.addEventListener("agon:step", ({ target, detail }) => {
    const side = drawn.find(({ line }) => line.element === target);
    if (detail.by === "follower") return swipe();
    play(false);
    go(side.line.place(detail) + side.offset, target);
  });
  document.addEventListener("agon:tile", ({ target, detail }) => (zoom(detail.tile, target), swipe()));
  document.addEventListener("agon:cursor", ({ detail }) => detail.from !== scrub && go(detail.images, null)); // a chart leads
  id("bar").addEventListener("click", ({ target }) => DO[target.dataset.do]?.());
  const tile = (by) => () => { const { tile: at, tiles } = drawn[0].line; zoom(((at ?? -by) + by + tiles.count) % tiles.count); };
  keys("Compare", {
    ArrowLeft: ["all one grid back", DO.back], ArrowRight: ["all one grid on", DO.on], " ": ["play", ({ target }) => target.closest("button, a, summary, input") ? false : DO.play()],
    "[": ["all to the tile before", tile(-1)], "]": ["all to the next tile", tile(1)], Escape: ["whole grids", () => zoom(null)], s: ["swipe two over each other", () => id("swipes")?.click()],
  });
}

// -- two over each other

const over = document.querySelector(".over");

function swipe() {
  if (!over || id("swipe").hidden) return;
  ["left", "right"].forEach((name, index) => {
    const { line, name: called } = drawn.find((side) => side.key === id(name).value);
    const image = over.querySelectorAll("img")[index];
    const { url, step: at } = line.grids[line.index];
    const src = line.tile === null ? url : url.replace("?", `/tiles/${line.tile}?`);
    if (image.getAttribute("src") !== src) Object.assign(image, { src, alt: `${called} at step ${at}` });
  });
}

id("swipes")?.addEventListener("click", ({ target }) => {
  id("swipe").hidden = !id("swipe").hidden;
  target.ariaPressed = String(!id("swipe").hidden);
  swipe();
});
id("swipe")?.addEventListener("change", swipe);
over?.querySelector("input").addEventListener("input", ({ target }) => over.style.setProperty("--cut", `${target.value}%`));

// -- curves

const PAUSE = 10000;
const AT_ONCE = 4;
const found = new Map(); // key of a run -> {metric: {images, mean}}
const seen = new Set();
const figures = [...document.querySelectorAll("#curves .chart")];
let begun = null;
let due = null;

async function load(some) {
  const metrics = figures.map((figure) => `metric=${encodeURIComponent(figure.dataset.metric)}`).join("&");
  const waiting = [...some];
  const work = async () => {
    for (let side; (side = waiting.shift()); ) {
      const answer = await fetch(`/v1/jobs/${side.key}/curves?buckets=150&${metrics}`, { headers: { Accept: "application/json" } }).catch(() => null);
      if (!answer?.ok) continue;
      const { training, scores } = await answer.json();
      found.set(side.key, { ...training, ...scores });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  seen.forEach(show);
}

function show(figure) {
  const series = sides.flatMap((side, colour) => {
    const curve = found.get(side.key)?.[figure.dataset.metric];
    return curve ? [{ label: side.name, colour, images: curve.images.map((images) => images + side.offset), mean: curve.mean }] : [];
  });
  draw(figure, { series, quiet: series.length > 12 });
}

function begin() {
  for (const side of sides) if (side.curves) found.set(side.key, JSON.parse(side.curves));
  return load(sides.filter((side) => !side.curves));
}

mount(document, (figure) => {
  seen.add(figure);
  if (!begun) begun = begin();
  else show(figure);
});

// What a training tells all the time is no reason to fetch the whole page.
const often = new Set();
document.addEventListener("agon:told", (event) => {
  const { kind, data } = event.detail;
  if (["progress", "observed"].includes(kind)) event.preventDefault();
  if (!begun || !["progress", "scores"].includes(kind)) return;
  often.add(data.run.id);
  due ??= setTimeout(() => {
    due = null;
    load(sides.filter((side) => !side.curves && often.has(side.run)));
    often.clear();
  }, PAUSE);
});
document.addEventListener("agon:fresh", swipe);
