// A trial: its evaluations as a curve, its samples on their timeline, and each at the images of the other.
import { Timeline } from "../run/timeline.js";
import { draw, mount } from "../shell/chart.js";
import { keys } from "../shell/keys.js";

const figure = document.getElementById("scores");
const curve = (known = document.getElementById("known")) => draw(figure, { series: JSON.parse(known.dataset.series) });
if (figure) {
  mount(document, () => curve());
  document.addEventListener("agon:fresh", () => figure.dataset.seen !== undefined && curve());
}

const element = document.querySelector(".timeline");
if (element) {
  const timeline = new Timeline(element);
  const key = (event) => timeline.keys(event);
  keys("Samples", { "ArrowLeft ArrowRight": ["one grid back or on", key], "[ ]": ["the tile before, behind it", key], Escape: ["all tiles", key] });
  element.addEventListener("agon:step", ({ detail }) => detail.by !== "follower" && document.dispatchEvent(new CustomEvent("agon:cursor", { detail: { images: detail.images, from: element } })));
  document.addEventListener("agon:cursor", ({ detail }) => detail.from !== element && timeline.at(detail.images));
}
