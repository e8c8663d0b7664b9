// A search: brushes on the axes of its parallel coordinates, which filter lines, table and samples alike; samples at other images; curves.
import { draw, mount } from "../shell/chart.js";
import { score, short } from "../shell/figures.js";
import { refresh } from "../shell/live.js";
import { news } from "./news.js";

const SVG = "http://www.w3.org/2000/svg";
const TOP = 48;
const LONG = 270;
const STEP = 20;
const id = (name) => document.getElementById(name);
const picture = id("parallel");
const brushes = new Map(); // number of an axis -> {from, to}: thousandths of its height, from its top
const axes = [...(picture?.querySelectorAll(".axis") ?? [])].map(equip);

// -- brushes

function equip(element, number) {
  const group = make("g", { "data-keep": "", class: "brush" }, element);
  const hit = make("rect", { x: -14, y: TOP - 8, width: 28, height: LONG + 16, class: "hit" }, group);
  const band = make("rect", { x: -5, width: 10, class: "band" }, group);
  const axis = { element, number, band, scale: scale(element) };
  axis.ends = ["from", "to"].map((end) => {
    const handle = make("path", { d: end === "from" ? "M-8-9h16l-8 9z" : "M-8 9h16l-8-9z", class: "handle", role: "slider", tabindex: 0, "aria-orientation": "vertical" }, group);
    handle.addEventListener("keydown", (event) => step(axis, end, event));
    handle.addEventListener("pointerdown", (event) => drag(axis, event, handle, end));
    return handle;
  });
  hit.addEventListener("pointerdown", (event) => drag(axis, event, hit));
  show(axis);
  return axis;
}

function make(name, values, inside) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
  inside.append(element);
  return element;
}

function scale(element) {
  const { path, kind, low, high, flipped, names } = element.querySelector("[data-kind]").dataset;
  const by = kind === "log" ? Math.log : (value) => value;
  const back = kind === "log" ? Math.exp : (value) => value;
  const [least, most] = [by(Number(low)), by(Number(high))];
  const turned = (share) => (flipped === undefined ? 1 - share : share);
  return {
    path, flipped: flipped !== undefined, names: JSON.parse(names),
    value: (height) => back(least + turned(height / 1000) * (most - least)),
    height: (value) => 1000 * turned((by(value) - least) / (most - least)),
  };
}

function show(axis) {
  const { from, to } = brushes.get(axis.number) ?? { from: 0, to: 1000 };
  const [low, high] = [TOP + from * LONG / 1000, TOP + to * LONG / 1000];
  axis.band.setAttribute("y", low);
  axis.band.setAttribute("height", Math.max(0, high - low));
  axis.band.classList.toggle("on", brushes.has(axis.number));
  axis.ends.forEach((handle, index) => {
    const { path, value, names, flipped } = axis.scale;
    const height = index ? to : from;
    const at = value(height);
    handle.setAttribute("transform", `translate(0 ${index ? high : low})`);
    const told = { label: `${path}, ${(index === 0) === flipped ? "at least" : "at most"}`, valuemin: 0, valuemax: 100, valuenow: Math.round(100 - height / 10), valuetext: names.length ? names[Math.round(at)] : score(at) };
    for (const [name, text] of Object.entries(told)) handle.setAttribute(`aria-${name}`, text);
  });
}

function brush(axis, from, to) {
  [from, to] = [Math.max(0, Math.min(from, to)), Math.min(1000, Math.max(from, to))];
  if (from <= 0 && to >= 1000) brushes.delete(axis.number);
  else brushes.set(axis.number, { from, to });
  show(axis);
  filter();
}

function step(axis, end, event) {
  const one = axis.scale.names.length > 1 ? 1000 / (axis.scale.names.length - 1) : STEP;
  const by = { ArrowUp: -one, ArrowRight: -one, ArrowDown: one, ArrowLeft: one, PageUp: -5 * one, PageDown: 5 * one, Home: -1000, End: 1000 }[event.key];
  if (by === undefined && event.key !== "Escape") return;
  event.preventDefault();
  const now = { from: 0, to: 1000, ...brushes.get(axis.number) };
  if (by === undefined) return brush(axis, 0, 1000);
  now[end] = end === "from" ? Math.min(now.from + by, now.to) : Math.max(now.to + by, now.from);
  brush(axis, now.from, now.to);
}

function drag(axis, event, element, end) {
  if (event.button) return;
  event.preventDefault();
  end && element.focus();
  element.setPointerCapture(event.pointerId);
  const height = (at) => ((at.clientY - picture.getBoundingClientRect().top - TOP) / LONG) * 1000;
  const begin = height(event);
  const before = { from: 0, to: 1000, ...brushes.get(axis.number) };
  let moved = false;
  const move = (at) => {
    moved ||= Math.abs(height(at) - begin) > 15;
    if (!moved) return;
    const fixed = end === "from" ? before.to : end === "to" ? before.from : begin;
    brush(axis, fixed, height(at));
  };
  element.addEventListener("pointermove", move);
  element.addEventListener("lostpointercapture", () => {
    element.removeEventListener("pointermove", move);
    if (!moved && !end) brush(axis, 0, 1000);
  }, { once: true });
}

function filter() {
  let kept = 0;
  const lines = picture?.querySelectorAll("polyline") ?? [];
  for (const line of lines) {
    const heights = line.getAttribute("points").split(" ").map((point) => Number(point.split(",")[1]));
    const inside = [...brushes].every(([axis, { from, to }]) => heights[axis] >= from - 1 && heights[axis] <= to + 1);
    line.classList.toggle("out", !inside);
    for (const part of ["row", "picture"]) id(`${part}-${line.id.slice(5)}`)?.toggleAttribute("hidden", !inside);
    kept += inside;
  }
  const text = brushes.size ? `${kept} of ${lines.length} trials` : "";
  if (id("brush-count").textContent !== text) id("brush-count").textContent = text;
  id("brush-clear").hidden = !brushes.size;
}

id("brush-clear")?.addEventListener("click", () => {
  brushes.clear();
  axes.forEach(show);
  filter();
  axes[0]?.ends[0].focus();
});

// What is pointed at in one place stands out in the others.
function light(event) {
  const one = event.target.closest?.("[data-trial], #lines polyline");
  const trial = one?.dataset.trial ?? one?.id.slice(5);
  for (const old of document.querySelectorAll(".lit")) old.classList.remove("lit");
  if (trial) for (const part of ["line", "row", "picture"]) id(`${part}-${trial}`)?.classList.add("lit");
}
document.addEventListener("pointerover", light);
document.addEventListener("focusin", light);

// -- samples, curves, importance

const slider = id("images");
slider?.addEventListener("input", () => (slider.form.querySelector("output").textContent = short(Math.round(slider.value))));
slider?.addEventListener("change", () => {
  const url = new URL(location.href);
  if (slider.value === slider.max) url.searchParams.delete("images");
  else url.searchParams.set("images", Math.round(slider.value));
  history.replaceState(null, "", url);
  refresh();
});

function curves() {
  const { series, log } = id("known").dataset;
  draw(id("scores"), { series: JSON.parse(series), log: Boolean(log), quiet: true });
}
mount(document, curves);

const matters = id("matters");
if (matters) new IntersectionObserver(async ([entry], watcher) => {
  if (!entry.isIntersecting) return;
  watcher.disconnect();
  const answer = await fetch(matters.dataset.from, { headers: { Accept: "text/html" } });
  const found = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("shares");
  if (found) matters.replaceChildren(found);
}).observe(matters);

// -- what is told meanwhile

document.addEventListener("agon:fresh", () => {
  for (const axis of axes) {
    const before = axis.scale;
    const held = brushes.get(axis.number);
    axis.scale = scale(axis.element);
    if (held) for (const end of ["from", "to"]) if (held[end] > 0 && held[end] < 1000) held[end] = axis.scale.height(before.value(held[end]));
    show(axis);
  }
  if (picture) filter();
  if (id("scores").dataset.seen !== undefined) curves();
  news("trial");
});
