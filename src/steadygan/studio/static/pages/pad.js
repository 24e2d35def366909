// A square to drag in: two directions of latent space.

import { h, icon, s } from "../lib/dom.js";

export class Pad {
  constructor(onMove, onTurn) {
    this.at = [0, 0];
    this.onMove = onMove;
    this.dot = s("circle", { r: 7, cx: 100, cy: 100 });
    this.node = h("div", { class: "stack tight" });
    this.field = h("div", { class: "pad2d", tabindex: "0", role: "slider", "aria-label": "Two directions in latent space: arrow keys move", "aria-valuetext": "0, 0", "aria-valuemin": -1, "aria-valuemax": 1, "aria-valuenow": 0 }, s("svg", { viewBox: "0 0 200 200", "aria-hidden": "true" }, s("line", { class: "cross", x1: 100, x2: 100, y1: 8, y2: 192 }), s("line", { class: "cross", x1: 8, x2: 192, y1: 100, y2: 100 }), this.dot));
    this.node.append(this.field, h("div", { class: "row tight" }, h("button", { class: "button small", type: "button", onclick: () => this.set(0, 0) }, "Back to the middle"), h("button", { class: "button small", type: "button", onclick: onTurn }, icon("dice"), "Other directions")));
    const from = (event) => { const box = this.field.getBoundingClientRect(); this.set(((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2); };
    this.field.addEventListener("pointerdown", (event) => { this.field.setPointerCapture(event.pointerId); this.dragging = true; from(event); });
    this.field.addEventListener("pointermove", (event) => { if (this.dragging) from(event); });
    for (const end of ["pointerup", "pointercancel"]) this.field.addEventListener(end, () => { this.dragging = false; });
    this.field.addEventListener("dblclick", () => this.set(0, 0));
    this.field.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (by) this.set(this.at[0] + by[0] * 0.05, this.at[1] + by[1] * 0.05);
      else if (event.key === "0") this.set(0, 0);
      else return;
      event.preventDefault();
    });
  }

  set(x, y) {
    this.at = [x, y].map((value) => Math.round(Math.max(-1, Math.min(1, value)) * 1000) / 1000);
    this.dot.setAttribute("cx", 100 + this.at[0] * 92);
    this.dot.setAttribute("cy", 100 - this.at[1] * 92);
    this.field.setAttribute("aria-valuetext", this.at.map((value) => value.toFixed(2)).join(", "));
    this.field.setAttribute("aria-valuenow", this.at[0]);
    this.onMove(...this.at);
  }
}
