// The sample grids of a training on one scrubber over the images seen.
//
// new Timeline(element) of what `run/parts.html` has written. It tells `agon:step` {step, images, index, by} on its element when another
// grid is looked at (by: person, play, follow or follower) and `agon:tile` {tile} when one tile is looked at (null: all). Others lead it:
// `at(images)` goes to the nearest grid, `go(index)`, `zoom(tile)`; `keys(event)` says whether it took the key. What is told of grids
// that were drawn since extends it; what one looks at stays, unless one has chosen to follow.
// Grids to either side that are fetched before they are asked for
const AHEAD = 3;
// Pictures
const KEPT = 60;
// Ms after which what is fetched is given up for what is looked at now
const LATE = 120;
// Pictures of a tile over time
const STRIP = 24;
const count = (number) => Number(number).toLocaleString("en");

export class Timeline {
  index = -1;
  tile = null;
  following = false;
  // Url -> image; null: it could not be had
  #pictures = new Map();
  #fetching = null;
  #pumping = false;

  constructor(element) {
    const find = (selector) => element.querySelector(selector);
    Object.assign(this, { element, stage: find(".stage"), canvas: find("canvas"), range: find("input"), marks: find(".marks"), strip: find(".strip"), where: find(".where"), total: find(".count") });
    this.tools = document.getElementById(`${element.id}-tools`);
    this.source = document.getElementById(element.dataset.source);
    this.tiles = JSON.parse(element.dataset.tiles || "{}");
    this.image = find("img");
    this.read();
    const first = this.find("step", Number(element.dataset.step));
    if (this.image) this.#keep(this.grids[first].url, this.image);
    this.#take(first);
    this.range.addEventListener("input", () => this.go(this.nearest(Number(this.range.value)), "person"));
    this.stage.addEventListener("click", (event) => (this.tile === null ? this.zoom(this.#tileAt(event)) : this.zoom(null)));
    this.strip.addEventListener("click", (event) => event.target.closest("button") && this.go(this.find("step", Number(event.target.closest("button").dataset.step)), "person"));
    this.tools?.addEventListener("click", (event) => this.#do(event.target.closest("button[data-do]")?.dataset.do));
    this.tools?.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const { step, by } = event.target.elements;
      if (step.value) this.go(this.find(by.value, Number(step.value)), "person");
    });
    element.addEventListener("keydown", (event) => this.keys(event) && event.stopPropagation());
    document.addEventListener("agon:fresh", () => this.read());
  }

  /** What the page knows of grids now. */
  read() {
    const packed = this.source.dataset.grids;
    if (packed === this.packed) return this.#mark();
    this.packed = packed;
    const here = this.grids?.[this.index];
    this.grids = packed.split(" ").filter(Boolean).map((one) => {
      const [step, images, tag] = one.split(",");
      return { step: Number(step), images: images === "" ? null : Number(images), url: `${this.element.dataset.url}/${step}?v=${tag}` };
    });
    this.range.min = this.place(this.grids[0]);
    this.range.max = this.place(this.grids.at(-1));
    this.total.textContent = `${count(this.grids.length)} grids`;
    this.#mark();
    if (!here) return;
    this.index = this.find("step", here.step);
    this.range.value = this.place(this.grids[this.index]);
    if (this.following) return this.go(this.grids.length - 1, "follow");
    const newer = this.grids.filter((grid) => grid.step > (this.seen ?? Infinity)).length;
    this.#tool("newer", { hidden: !newer, textContent: `${newer} new – show` });
  }

  place = (grid) => grid.images ?? grid.step;

  /** Index of the grid next to a value. of: step or images. */
  find(of, value) {
    const at = of === "images" ? this.place : (grid) => grid.step;
    let low = 0;
    let high = this.grids.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at(this.grids[middle]) < value) low = middle + 1;
      else high = middle;
    }
    return low > 0 && value - at(this.grids[low - 1]) <= at(this.grids[low]) - value ? low - 1 : low;
  }

  nearest = (images) => this.find("images", images);
  at = (images, by = "follower") => this.go(this.nearest(images), by);

  /** Look at another grid. */
  go(index, by = "follower") {
    index = Math.max(0, Math.min(this.grids.length - 1, index));
    if (by === "person") this.follow(false);
    if (by !== "play") this.play(false);
    if (index === this.index) return;
    this.#take(index);
    const { step, images } = this.grids[index];
    this.element.dispatchEvent(new CustomEvent("agon:step", { bubbles: true, detail: { step, images, index, by } }));
  }

  #take(index) {
    this.index = index;
    const { step, images, url } = this.grids[index];
    this.range.value = this.place(this.grids[index]);
    this.where.textContent = `step ${count(step)}${images === null ? "" : ` · ${count(images)} images`}`;
    this.range.setAttribute("aria-valuetext", `${this.where.textContent}, grid ${index + 1} of ${this.grids.length}`);
    if (index === this.grids.length - 1) {
      this.seen = step;
      this.#tool("newer", { hidden: true });
    }
    this.seen ??= this.grids.at(-1).step;
    for (const button of this.strip.children) button.toggleAttribute("aria-current", Number(button.dataset.step) === step);
    if (this.#pictures.get(url) === null) this.#pictures.delete(url);
    if (this.#pictures.has(url)) this.#show(this.#pictures.get(url), index);
    else this.stage.toggleAttribute("data-waits", true);
    // A neighbour can wait
    if (this.#fetching?.ahead && this.#fetching.index !== index) this.#fetching.giveUp();
    clearTimeout(this.late);
    this.late = setTimeout(() => this.#giveUp(), LATE);
    this.#pump();
  }

  // One picture at a time: what is looked at first, then its neighbours. So scrubbing over hundreds fetches few of them.
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let index; (index = this.#next()) !== null; ) {
      const wanted = index === this.index;
      const { step, url } = this.grids[index];
      const image = Object.assign(new Image(), { alt: `Samples at step ${step}`, src: url });
      this.#fetching = { index, ahead: !wanted };
      // What is given up is waited for no longer, whatever the browser makes of it.
      const given = new Promise((done) => (this.#fetching.giveUp = () => done(image.removeAttribute("src"))));
      const whole = await Promise.race([image.decode().then(() => true, () => false), given]);
      if (whole !== undefined) this.#keep(url, whole ? image : null);
      if (whole && (wanted || index === this.index)) this.#show(image, index);
      else if (!whole && index === this.index && this.#pictures.get(url) === null) this.where.textContent += " · its picture can't be had";
    }
    this.#fetching = null;
    this.#pumping = false;
  }

  #next() {
    for (let away = 0; away <= AHEAD; away++) {
      for (const index of [this.index + away, this.index - away]) {
        if (this.grids[index] && !this.#pictures.has(this.grids[index].url)) return index;
      }
    }
    return null;
  }

  #giveUp() {
    if (this.#fetching && Math.abs(this.#fetching.index - this.index) > AHEAD) this.#fetching.giveUp();
  }

  #keep(url, image) {
    this.#pictures.set(url, image);
    for (const old of this.#pictures.keys()) if (this.#pictures.size > KEPT && this.#pictures.get(old) !== this.image) this.#pictures.delete(old);
  }

  #show(image, index) {
    for (const name of ["width", "height"]) if (this.image?.hasAttribute(name)) image.setAttribute(name, this.image.getAttribute(name));
    if (this.image !== image) this.image?.replaceWith(image);
    this.image = image;
    image.hidden = this.tile !== null;
    this.stage.toggleAttribute("data-waits", index !== this.index);
    if (this.tile !== null) this.#draw();
  }

  /** One tile large, with what it was over time; null: all of the grid. */
  zoom(tile) {
    if (tile !== null && !(tile >= 0 && tile < (this.tiles.count ?? 0))) return;
    const changed = tile !== this.tile;
    this.tile = tile;
    this.canvas.hidden = this.strip.hidden = tile === null;
    if (this.image) this.image.hidden = tile !== null;
    if (tile === null) this.strip.replaceChildren();
    else {
      this.#draw();
      if (changed) this.#fill();
    }
    if (changed) this.element.dispatchEvent(new CustomEvent("agon:tile", { bubbles: true, detail: { tile } }));
  }

  #draw() {
    const { columns, width, height, pad } = this.tiles;
    const [x, y] = [this.tile % columns, Math.floor(this.tile / columns)];
    Object.assign(this.canvas, { width, height });
    this.canvas.getContext("2d").drawImage(this.image, pad + x * (width + pad), pad + y * (height + pad), width, height, 0, 0, width, height);
    this.canvas.setAttribute("aria-label", `Tile ${this.tile}`);
  }

  #fill() {
    const every = Math.max(1, (this.grids.length - 1) / (STRIP - 1));
    const chosen = [...new Set(Array.from({ length: Math.min(STRIP, this.grids.length) }, (_, at) => Math.round(at * every)))];
    this.strip.replaceChildren(...chosen.filter((index) => this.grids[index]).map((index) => {
      const { step, url } = this.grids[index];
      const button = Object.assign(document.createElement("button"), { type: "button", title: `step ${count(step)}` });
      button.dataset.step = step;
      button.toggleAttribute("aria-current", index === this.index);
      button.append(Object.assign(new Image(48, 48), { loading: "lazy", alt: `step ${step}`, src: url.replace("?", `/tiles/${this.tile}?`) }));
      return button;
    }));
  }

  #tileAt(event) {
    const { columns, width, height, pad } = this.tiles;
    if (!columns || !this.image) return null;
    const box = this.image.getBoundingClientRect();
    const size = this.image.naturalWidth / box.width;
    const [x, y] = [((event.clientX - box.left) * size - pad) / (width + pad), ((event.clientY - box.top) * size - pad) / (height + pad)];
    return x >= 0 && x < columns && y >= 0 ? Math.floor(y) * columns + Math.floor(x) : null;
  }

  play(on) {
    clearTimeout(this.timer);
    this.#tool("play", { textContent: on ? "Pause" : "Play", ariaPressed: String(on) });
    this.playing = on;
    if (!on) return;
    if (this.index === this.grids.length - 1) this.go(0, "play");
    const tick = () => {
      if (this.index >= this.grids.length - 1) return this.play(false);
      // Else it waits for the picture
      if (!this.stage.hasAttribute("data-waits")) this.go(this.index + 1, "play");
      this.timer = setTimeout(tick, 1000 / Number(this.tools.querySelector('[data-do="speed"]').value));
    };
    this.timer = setTimeout(tick, 200);
  }

  follow(on) {
    this.following = on;
    this.#tool("follow", { ariaPressed: String(on) });
    if (on) this.go(this.grids.length - 1, "follow");
  }

  #tool(name, values) {
    const button = this.tools?.querySelector(`[data-do="${name}"]`);
    if (button) Object.assign(button, values);
  }

  #do(what) {
    if (what === "back" || what === "on") this.go(this.index + (what === "on" ? 1 : -1), "person");
    else if (what === "play") this.play(!this.playing);
    else if (what === "follow") this.follow(!this.following);
    else if (what === "newer") this.go(this.grids.length - 1, "person");
  }

  /** Whether it took the key. */
  keys(event) {
    const typing = event.target.matches("input:not([type=range]), textarea, select");
    if (typing || event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented || document.querySelector("dialog[open]")) return false;
    const inside = this.element.contains(event.target);
    const far = event.shiftKey ? 10 : 1;
    const at = (index) => () => this.go(index, "person");
    const next = (by) => () => this.zoom(((this.tile ?? -by) + by + this.tiles.count) % this.tiles.count);
    const known = {
      ArrowLeft: at(this.index - far), ArrowRight: at(this.index + far),
      ...(inside && { Home: at(0), End: at(this.grids.length - 1), " ": () => event.target.closest("button") || this.play(!this.playing) }),
      ...(event.target === this.stage && { Enter: () => this.zoom(this.tile === null ? 0 : null) }),
      ...(this.tiles.count && { "[": next(-1), "]": next(1) }),
      ...(this.tile !== null && { Escape: () => this.zoom(null) }),
      g: () => this.tools?.querySelector("[name=step]").focus(),
    };
    if (!known[event.key]) return false;
    if (!(event.key === " " && event.target.closest("button"))) event.preventDefault();
    known[event.key]();
    return true;
  }

  #mark() {
    const marks = this.source.dataset.marks;
    const [first, last] = [Number(this.range.min), Number(this.range.max)];
    if (`${marks}${last}` === this.marked || !this.marks) return;
    this.marked = `${marks}${last}`;
    this.marks.replaceChildren(...JSON.parse(marks || "[]").map(([images, kind]) => {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [name, value] of Object.entries({ x: ((images - first) / Math.max(1, last - first)) * 1000 - 1.5, y: 0, width: 3, height: 10, class: kind })) line.setAttribute(name, value);
      return line;
    }));
  }
}
