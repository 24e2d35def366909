// Curves as SVG: hover, drag to zoom, keys, logarithmic scale, smoothing, ranges, marks.

import { fill, h, number, s } from "./dom.js";
import { middle, nearestIndex, powers, short, smoothed, ticks } from "./scale.js";

const LEFT = 50, RIGHT = 10, TOP = 10, BOTTOM = 26;

// State shared by the charts of a page: the range of steps, and the pointer's position.
export class Sync {
  constructor() { this.range = null; this.hover = null; this.charts = new Set(); this.onRange = null; }
  zoom(range) { this.range = range; this.onRange?.(range); for (const chart of this.charts) chart.draw(); }
  point(step) { this.hover = step; for (const chart of this.charts) chart.cross(); }
}

export class Chart {
  // series: [{label, data, kind, dash}]; between: indices of two series with the area between them filled.
  constructor({ title, sync, height = 210, between = null, note = "", unit = "steps" }) {
    Object.assign(this, { title, sync, height, between, unit, series: [], marks: [], log: false, smooth: 0, hidden: new Set() });
    this.svg = s("svg", { class: "hit", tabindex: "0", role: "img", "aria-label": title });
    this.legend = h("div", { class: "legend" });
    this.tip = h("p", { class: "tip", "aria-live": "off" });
    this.node = h("section", { class: "panel chart", "aria-label": title }, h("div", { class: "row spread" }, h("h3", null, title), this.tip), note && h("p", { class: "small muted" }, note), this.legend, this.svg);
    sync.charts.add(this);
    this.observer = new ResizeObserver(([entry]) => { const width = Math.round(entry.contentRect.width); if (width && width !== this.width) { this.width = width; this.draw(); } });
    this.observer.observe(this.svg);
    this.listen();
  }

  close() { this.observer.disconnect(); this.sync.charts.delete(this); }

  update(changes) {
    Object.assign(this, changes);
    this.draw();
  }

  get shown() { return this.series.filter((one) => !this.hidden.has(one.label) && one.data.steps.length); }

  draw() {
    if (!this.width) return;
    const { width, height } = this, shown = this.shown;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    const ends = shown.flatMap(({ data }) => [data.steps[0], data.steps.at(-1)]);
    const [first, last] = this.sync.range ?? (ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1]);
    this.domain = first < last ? [first, last] : [first - 1, first + 1];
    for (const one of this.series) one.line = smoothed(middle(one.data), this.smooth);
    const extent = this.extent(shown);
    this.x = (step) => LEFT + ((step - this.domain[0]) / (this.domain[1] - this.domain[0])) * (width - LEFT - RIGHT);
    const [low, high] = extent, logarithmic = this.log && low > 0;
    const at = logarithmic ? (v) => (Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (v) => (v - low) / (high - low);
    this.y = (value) => height - BOTTOM - (logarithmic && value <= 0 ? 0 : at(value)) * (height - TOP - BOTTOM);
    const clip = `clip-${Math.random().toString(36).slice(2)}`;
    const body = s("g", { "clip-path": `url(#${clip})` }, this.drawMarks(), this.drawBetween(), shown.map((one) => this.drawOne(one)));
    this.hoverLayer = s("g");
    fill(this.svg, s("clipPath", { id: clip }, s("rect", { x: LEFT, y: TOP - 3, width: Math.max(0, width - LEFT - RIGHT), height: height - TOP - BOTTOM + 6 })), this.drawAxes(extent, logarithmic), body, this.hoverLayer);
    this.drawLegend();
    this.cross();
    if (!shown.length) fill(this.hoverLayer, s("text", { class: "axis", x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing measured here yet"));
  }

  extent(shown) {
    let low = Infinity, high = -Infinity;
    const see = (value) => { if (value !== null && (!this.log || value > 0)) { if (value < low) low = value; if (value > high) high = value; } };
    for (const { data, line } of shown) {
      data.steps.forEach((step, i) => {
        if (step < this.domain[0] || step > this.domain[1]) return;
        see(line[i]);
        if (!this.smooth && data.low) { see(data.low[i]); see(data.high[i]); }
      });
    }
    if (low > high) return [0, 1];
    // A constant, up to rounding.
    if (high - low <= Math.abs(high) * 1e-9) { if (low === 0) return [0, 1]; const pad = Math.abs(low) * 0.1; return this.log ? [low / 2, high * 2] : [low - pad, high + pad]; }
    if (this.log) return [low / 1.08, high * 1.08];
    const pad = (high - low) * 0.05;
    return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
  }

  drawAxes([low, high], logarithmic) {
    const { width, height } = this, parts = [];
    for (const value of logarithmic ? powers(low, high) : ticks(low, high, 4)) {
      const y = this.y(value);
      parts.push(s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }), s("text", { class: "axis", x: LEFT - 7, y: y + 4, "text-anchor": "end" }, short(value)));
    }
    for (const step of ticks(...this.domain, Math.max(3, width / 90)).filter(Number.isInteger)) {
      const x = this.x(step);
      parts.push(s("text", { class: "axis", x, y: height - 8, "text-anchor": x > width - 40 ? "end" : "middle" }, short(step)));
    }
    return parts;
  }

  drawMarks() {
    return this.marks.filter(({ step }) => step >= this.domain[0] && step <= this.domain[1]).map(({ step, kind, label }) => s("line", { class: `mark k${kind}`, x1: this.x(step), x2: this.x(step), y1: TOP, y2: this.height - BOTTOM }, s("title", null, label)));
  }

  drawBetween() {
    if (!this.between) return null;
    const [a, b] = this.between.map((label) => this.shown.find((one) => one.label === label));
    if (!a || !b) return null;
    const forth = a.data.steps.map((step, i) => [step, a.line[i], b.line[nearestIndex(b.data.steps, step)]]).filter(([, p, q]) => p !== null && q !== null && q !== undefined);
    const up = forth.map(([step, p]) => `${this.x(step).toFixed(1)},${this.y(p).toFixed(1)}`), down = forth.reverse().map(([step, , q]) => `${this.x(step).toFixed(1)},${this.y(q).toFixed(1)}`);
    return s("polygon", { class: `range k${a.kind}`, points: [...up, ...down].join(" ") });
  }

  drawOne({ data, line, kind, dash }) {
    const parts = [], { steps } = data;
    if (data.low && data.high) parts.push(s("path", { class: `range k${kind}`, d: this.area(steps, data.low, data.high) }));
    else if (this.smooth) parts.push(s("path", { class: `raw k${kind}`, fill: "none", d: this.path(steps, data.values) }));
    parts.push(s("path", { class: `line k${kind} d${dash ?? 1}`, d: this.path(steps, line) }));
    if (steps.length < 40) parts.push(steps.map((step, i) => line[i] !== null && s("circle", { class: `k${kind}`, cx: this.x(step), cy: this.y(line[i]), r: 2.4 })));
    return parts;
  }

  path(steps, values) {
    let d = "", pen = false;
    for (let i = 0; i < steps.length; i++) {
      const value = values[i];
      if (value === null || value === undefined) { pen = false; continue; }
      d += `${pen ? "L" : "M"}${this.x(steps[i]).toFixed(1)} ${this.y(value).toFixed(1)}`;
      pen = true;
    }
    return d;
  }

  area(steps, low, high) {
    const kept = steps.map((step, i) => [step, low[i], high[i]]).filter(([, a]) => a !== null);
    if (!kept.length) return "";
    const up = kept.map(([step, , b]) => `${this.x(step).toFixed(1)} ${this.y(b).toFixed(1)}`), down = kept.reverse().map(([step, a]) => `${this.x(step).toFixed(1)} ${this.y(a).toFixed(1)}`);
    return `M${up.join("L")}L${down.join("L")}Z`;
  }

  drawLegend() {
    const key = this.series.map(({ label, kind, dash }) => label + kind + dash + this.hidden.has(label)).join("|");
    if (key === this.legendKey) return;
    this.legendKey = key;
    this.values = new Map();
    fill(this.legend, this.series.map(({ label, kind, dash }) => {
      const value = h("span", { class: "num" });
      this.values.set(label, value);
      return h("button", { type: "button", "aria-pressed": String(!this.hidden.has(label)), title: "show or hide", onclick: () => { if (!this.hidden.delete(label)) this.hidden.add(label); this.draw(); } },
        s("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, s("line", { class: `line k${kind} d${dash ?? 1}`, x1: 0, x2: 22, y1: 5, y2: 5 })), label, value);
    }));
  }

  // The values under the pointer, or the last ones.
  cross() {
    if (!this.x || !this.hoverLayer) return;
    const step = this.sync.hover, read = [];
    const layer = [];
    for (const one of this.series) {
      const { steps } = one.data, i = step === null ? steps.length - 1 : nearestIndex(steps, step);
      const value = i < 0 ? null : one.line?.[i] ?? null;
      this.values?.get(one.label)?.replaceChildren(number(value, 3));
      if (i >= 0 && value !== null) read.push(`${one.label} ${number(value, 3)}`);
      if (step !== null && value !== null && !this.hidden.has(one.label) && steps[i] >= this.domain[0] && steps[i] <= this.domain[1]) layer.push(s("circle", { class: `k${one.kind}`, cx: this.x(steps[i]), cy: this.y(value), r: 3.5 }));
    }
    const mark = step === null ? null : this.marks.find((one) => Math.abs(this.x(one.step) - this.x(step)) < 6);
    this.tip.textContent = step === null ? "" : mark ? `step ${number(mark.step)}: ${mark.label}` : `step ${number(Math.round(step))}`;
    this.svg.setAttribute("aria-label", `${this.title}, ${step === null ? "at the end" : `step ${Math.round(step)}`}: ${read.join(", ") || "no values"}`);
    if (step !== null && step >= this.domain[0] && step <= this.domain[1]) layer.unshift(s("line", { class: "cross", x1: this.x(step), x2: this.x(step), y1: TOP, y2: this.height - BOTTOM }));
    if (this.drag) layer.unshift(s("rect", { class: "brush", x: Math.min(...this.drag), y: TOP, width: Math.abs(this.drag[1] - this.drag[0]), height: this.height - TOP - BOTTOM }));
    if (this.shown.length) fill(this.hoverLayer, layer);
  }

  listen() {
    const stepAt = (event) => {
      const box = this.svg.getBoundingClientRect(), px = Math.min(Math.max(event.clientX - box.left, LEFT), this.width - RIGHT);
      return [px, this.domain[0] + ((px - LEFT) / (this.width - LEFT - RIGHT)) * (this.domain[1] - this.domain[0])];
    };
    this.svg.addEventListener("pointermove", (event) => {
      if (!this.domain) return;
      const [px, step] = stepAt(event);
      if (this.drag) this.drag[1] = px;
      this.sync.point(step);
    });
    this.svg.addEventListener("pointerleave", () => { if (!this.drag) this.sync.point(null); });
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      const [px, step] = stepAt(event);
      this.drag = [px, px];
      this.from = step;
      this.svg.setPointerCapture(event.pointerId);
    });
    this.svg.addEventListener("pointerup", (event) => {
      if (!this.drag) return;
      const [px, step] = stepAt(event), wide = Math.abs(px - this.drag[0]) > 8;
      this.drag = null;
      if (wide) this.sync.zoom([Math.min(step, this.from), Math.max(step, this.from)]); else this.cross();
    });
    this.svg.addEventListener("pointercancel", () => { this.drag = null; });
    this.svg.addEventListener("dblclick", () => this.sync.zoom(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("blur", () => this.sync.point(null));
  }

  key(event) {
    if (!this.domain || event.ctrlKey || event.metaKey || event.altKey) return;
    const [first, last] = this.domain, at = this.sync.hover ?? last, span = last - first;
    const moves = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key in moves) this.sync.point(Math.min(last, Math.max(first, at + (moves[event.key] * span) / (event.shiftKey ? 10 : 100))));
    else if (event.key === "+" || event.key === "=") this.sync.zoom([at - span / 4, at + span / 4]);
    else if (event.key === "-") this.sync.zoom([first - span / 2, last + span / 2]);
    else if (event.key === "0" || event.key === "Escape") this.sync.zoom(null);
    else return;
    event.preventDefault();
  }
}

export function spark(points, label) {
  const values = points.map(([, value]) => value);
  const low = Math.min(...values), high = Math.max(...values), first = points[0][0], span = points.at(-1)[0] - first || 1;
  const place = ([step, value]) => [points.length > 1 ? 2 + ((step - first) / span) * 98 : 100, 27 - ((value - low) / (high - low || 1)) * 24];
  const ends = place(points.at(-1));
  return s("svg", { class: "spark", viewBox: "0 0 104 30", role: "img", "aria-label": label }, points.length > 1 && s("polyline", { class: "line", points: points.map((point) => place(point).map((v) => v.toFixed(1)).join(",")).join(" ") }), s("circle", { cx: ends[0], cy: ends[1], r: 2.6 }));
}
