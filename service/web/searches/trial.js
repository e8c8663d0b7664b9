// A trial: its evaluations as a curve.
import { draw, mount } from "../shell/chart.js";

const figure = document.getElementById("scores");
const curve = (known = document.getElementById("known")) => draw(figure, { series: JSON.parse(known.dataset.series) });
if (figure) {
  mount(document, () => curve());
  document.addEventListener("agon:fresh", () => figure.dataset.seen !== undefined && curve());
}
