// The choice of classes by name: a list for some dozens, a search for thousands.

import { count, fill, h } from "../lib/dom.js";

const AT_ONCE = 48;

export class Classes {
  constructor(onChange) {
    Object.assign(this, { onChange, names: [], chosen: null });
    this.search = h("input", { type: "search", spellcheck: "false", "aria-label": "Search classes by name or number", oninput: () => this.show(), onkeydown: (event) => { if (event.key === "Enter") this.first(); } });
    this.chips = h("div", { class: "chips", role: "group", "aria-label": "Classes" });
    this.node = h("div", { class: "stack tight", hidden: true }, h("span", { class: "small muted" }, "classes, taken in turn"), this.search, this.chips);
  }

  // A generator's number of classes, and their names if it stores them.
  offer(classes, names) {
    this.node.hidden = !classes;
    this.names = Array.from({ length: classes ?? 0 }, (_, label) => names[label] ?? String(label));
    if (this.chosen?.some((label) => label >= this.names.length)) this.chosen = null;
    this.search.hidden = this.names.length <= AT_ONCE;
    this.search.placeholder = `search ${count(this.names.length)} classes`;
    this.show();
  }

  // The class of image number `index` among images of `chosen` classes (null: all); null without classes.
  of(index, chosen) {
    if (!this.names.length) return null;
    const label = chosen ? chosen[index % chosen.length] : index % this.names.length;
    return { label, name: this.names[label] };
  }

  choose(labels) {
    this.chosen = labels?.length ? [...labels].sort((a, b) => a - b) : null;
    this.show();
  }

  toggle(label) {
    const now = new Set(this.chosen ?? []);
    if (!now.delete(label)) now.add(label);
    this.choose([...now]);
    this.onChange();
  }

  found() {
    const text = this.search.hidden ? "" : this.search.value.trim().toLowerCase(), found = [];
    this.names.forEach((name, label) => { if (!text || name.toLowerCase().includes(text) || text === String(label)) found.push(label); });
    return found;
  }

  first() {
    const [label] = this.found();
    if (label !== undefined && this.search.value.trim()) this.toggle(label);
  }

  show() {
    const focused = this.chips.contains(document.activeElement) ? document.activeElement.dataset.label : null;
    const found = this.found(), shown = found.slice(0, AT_ONCE), more = found.length - shown.length;
    const chosen = this.names.length > AT_ONCE ? (this.chosen ?? []).filter((label) => !shown.includes(label)) : [];
    const chip = (label) => h("button", { class: "chip", type: "button", "data-label": label, "aria-pressed": String(this.chosen?.includes(label) ?? false), onclick: () => this.toggle(label) }, h("span", { class: "clip", title: this.names[label] }, this.names[label]));
    fill(this.chips, h("button", { class: "chip", type: "button", "data-label": "all", "aria-pressed": String(!this.chosen), onclick: () => { this.choose(null); this.onChange(); } }, "all"), chosen.map(chip), shown.map(chip),
      more > 0 && h("span", { class: "small muted" }, `and ${count(more)} more: search for them`), !found.length && h("span", { class: "small muted" }, "no class of this name"));
    if (focused !== null) this.chips.querySelector(`[data-label="${focused}"]`)?.focus();
  }
}
