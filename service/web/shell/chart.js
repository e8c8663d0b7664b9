// Curves over images shown, drawn by uPlot from what the server has put into buckets: mean, and least to greatest as a band.
//
// draw(figure, {series: [{label, images, mean, least?, greatest?, dashed?, colour?}], log?, quiet?, marks?: [{images, colour?}]}) draws into
// `figure .plot` and fills the table of `figure details`, which says the same to who can't see it. Called again, it replaces what is there and
// keeps the zoom. A colour is a number, or the name of a variable of the style; quiet: without a legend, for many series.
// All charts with the same `data-sync` share their cursor, and tell it: `agon:cursor` on the document, {images, from}; anyone may send it, too.
import { short } from "./figures.js";

const COLOURS = 8;
// Pixels of its first line, which are kept free for it: nothing moves when the curves come
const LEGEND = 30;
// Figure -> {plot, data, given}
const charts = new Map();
let telling = false;

export function draw(figure, given) {
  const place = figure.querySelector(".plot");
  if (!window.uPlot || !place) return fill(figure, given);
  const shown = given.series.filter((one) => one.images.length);
  const data = joined(shown);
  const old = charts.get(figure);
  const zoom = old?.zoomed ? { min: old.plot.scales.x.min, max: old.plot.scales.x.max } : null;
  if (old && alike(old.given, given)) {
    old.plot.setData(data, !zoom);
    old.given = given;
  } else {
    old?.plot.destroy();
    const made = { given, zoomed: false };
    charts.set(figure, made);
    made.plot = new window.uPlot(options(figure, place, given, shown, made), data, place);
  }
  if (zoom) charts.get(figure).plot.setScale("x", zoom);
  fill(figure, given);
}

function joined(shown) {
  const tables = shown.map((one) => {
    const columns = [one.images, one.mean];
    if (one.least) columns.push(one.least, one.greatest);
    return columns;
  });
  return tables.length ? window.uPlot.join(tables) : [[]];
}

function options(figure, place, given, shown, made) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const series = [{ label: "images", value: (_, value) => (value == null ? "–" : short(value)) }];
  const bands = [];
  shown.forEach((one, index) => {
    const stroke = colour(typeof one.colour === "string" ? one.colour : `--c${((one.colour ?? index) % COLOURS) + 1}`);
    series.push({
      label: one.label, stroke, width: 1.6, spanGaps: true, dash: one.dashed ? [6, 4] : undefined, points: { show: one.images.length < 40, size: 5 },
      value: (_, value) => (value == null ? "–" : Number(value.toPrecision(4)).toString()),
    });
    if (!one.least) return;
    const at = series.length;
    series.push({ label: " ", stroke: "transparent", width: 0, points: { show: false } }, { label: " ", stroke: "transparent", width: 0, points: { show: false } });
    bands.push({ series: [at + 1, at], fill: `color-mix(in srgb, ${stroke} 18%, transparent)` });
  });
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  return {
    width: place.clientWidth || 320, height: (place.clientHeight || 250) - (given.quiet ? 0 : LEGEND), series, bands,
    scales: { x: { time: false }, y: { distr: given.log ? 3 : 1 } },
    axes: [{ ...axis, values: (_, ticks) => ticks.map(short) }, { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => (tick == null ? "" : Number(tick.toPrecision(4)).toString())) }],
    legend: { show: !given.quiet, live: true, markers: { width: 2 } },
    cursor: { drag: { x: true, y: false, setScale: true }, sync: figure.dataset.sync ? { key: figure.dataset.sync, setSeries: false } : undefined },
    hooks: {
      init: [hideBands],
      setCursor: [(plot) => tell(figure, plot)],
      setScale: [(plot, key) => key === "x" && (made.zoomed = plot.data[0].length > 0 && (plot.scales.x.min > plot.data[0][0] || plot.scales.x.max < plot.data[0].at(-1)))],
      draw: given.marks ? [(plot) => mark(plot, given.marks, colour)] : [],
    },
  };
}

// The lines of a band are no series to read: their rows leave the legend.
function hideBands(plot) {
  for (const row of plot.root.querySelectorAll(".u-legend .u-series")) if (!row.querySelector(".u-label")?.textContent.trim()) row.hidden = true;
}

// What happened at some images: a line across, as tall as the plot.
function mark(plot, marks, colour) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.setLineDash([4, 3]);
  for (const one of marks) {
    ctx.strokeStyle = colour(one.colour ?? "--warn");
    const x = plot.valToPos(one.images, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function tell(figure, plot) {
  if (telling || plot.cursor.idx == null || plot.cursor.event == null) return;
  document.dispatchEvent(new CustomEvent("agon:cursor", { detail: { images: plot.data[0][plot.cursor.idx], from: figure } }));
}

/** Put the cursor of all charts of a figure's kind at so many images. */
export function point(images, from) {
  telling = true;
  for (const [figure, { plot }] of charts) {
    if (figure === from || !plot.data[0].length) continue;
    plot.setCursor({ left: plot.valToPos(images, "x"), top: plot.over.clientHeight / 2 }, false);
  }
  telling = false;
}

const alike = (one, other) =>
  one.log === other.log && JSON.stringify(one.marks) === JSON.stringify(other.marks) && one.series.filter((s) => s.images.length).map((s) => s.label).join("\n") === other.series.filter((s) => s.images.length).map((s) => s.label).join("\n");

// The same as a table, made when it is opened: of long curves every so manieth row.
const ROWS = 40;
function fill(figure, given) {
  const details = figure.querySelector("details");
  if (!details) return;
  details.fill = () => details.querySelector(".table")?.replaceChildren(table(given));
  if (details.open) details.fill();
  else details.ontoggle = () => details.open && details.fill();
}

function table(given) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of ["images", ...given.series.map((one) => one.label)]) head.append(Object.assign(document.createElement("th"), { scope: "col", textContent: name }));
  const every = [...new Set(given.series.flatMap((one) => one.images))].sort((a, b) => a - b);
  const step = Math.max(1, Math.ceil(every.length / ROWS));
  const at = given.series.map((one) => new Map(one.images.map((images, index) => [images, one.mean[index]])));
  const rows = table.createTBody();
  for (let index = 0; index < every.length; index += step) {
    const row = rows.insertRow();
    row.insertCell().textContent = every[index].toLocaleString();
    for (const values of at) row.insertCell().textContent = values.has(every[index]) ? Number(values.get(every[index]).toPrecision(4)) : "";
  }
  return table;
}

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const found = charts.get(target.closest(".chart"));
    if (found && target.clientWidth && found.plot.width !== target.clientWidth) found.plot.setSize({ width: target.clientWidth, height: found.plot.height });
  }
});

/** Charts below `root` are drawn by `load(figure)` once they come into sight; they follow their size, and the colours. */
export function mount(root, load) {
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      target.dataset.seen = "";
      sizes.observe(target.querySelector(".plot"));
      load(target);
    }
  }, { rootMargin: "200px" });
  for (const figure of root.querySelectorAll(".chart:not([data-seen])")) seen.observe(figure);
}

document.addEventListener("agon:theme", () => {
  for (const [figure, { plot, given }] of [...charts]) {
    plot.destroy();
    charts.delete(figure);
    draw(figure, given);
  }
});
document.addEventListener("agon:cursor", (event) => point(event.detail.images, event.detail.from));
