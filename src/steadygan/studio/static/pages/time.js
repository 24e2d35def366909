// The same latents over training: slider, playback, two steps side by side, one latent as a film strip.

import { complain, copyable, count, fill, grain, h, icon, menu, quoted, s, typing } from "../lib/dom.js";
import { get, saveFrom } from "../lib/api.js";
import { nearestIndex } from "../lib/scale.js";
import { about } from "../lib/store.js";
import { toneOfEvent } from "./curves.js";

const KEPT = 90;

// Sheets by step, the newest ones kept.
export class Sheets {
  constructor(id) { this.id = id; this.kept = new Map(); }
  get(step) {
    let found = this.kept.get(step);
    this.kept.delete(step);
    found ??= new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => { this.kept.delete(step); reject(new Error(`the sheet of step ${count(step)} cannot be read`)); };
      image.src = `/api/runs/${this.id}/sheets/${step}?plain`;
    });
    this.kept.set(step, found);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return found;
  }
}

export function draw(canvas, image) {
  if (canvas.width !== image.naturalWidth) canvas.width = image.naturalWidth;
  if (canvas.height !== image.naturalHeight) canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
}

export function time(body, run) {
  if (!run.steps_of_sheets.length) {
    fill(body, h("div", { class: "empty" }, h("h2", null, "No samples yet"), h("p", null, ["running", "starting", "paused"].includes(run.state) ? "The first sheet comes at the first multiple of train.sample_every, and appears here automatically." : `This run ended at step ${count(run.step)}, before its first sheet (train.sample_every).`)));
    return { changed: (found) => { if (found.steps_of_sheets.length) location.reload(); } };
  }
  const state = { steps: run.steps_of_sheets, at: [run.steps_of_sheets.length - 1, 0], two: false, zoom: 0, playing: false, latent: null, speed: 8 };
  const sheets = new Sheets(run.id), { side, gap } = run.layout, names = run.column_names, pixels = grain(run.size) === "pixel";
  const panes = [0, 1].map((index) => pane(index));
  const stage = h("div", { class: "stage" }, panes[0].node);
  const slider = h("input", { type: "range", min: 0, max: state.steps.length - 1, step: 1, value: state.at[0], "aria-label": "Step", oninput: () => move(0, Number(slider.value)) });
  const other = h("input", { type: "range", min: 0, max: state.steps.length - 1, step: 1, value: 0, "aria-label": "The other step", oninput: () => move(1, Number(other.value)), hidden: true });
  const playButton = h("button", { class: "button primary", type: "button", onclick: () => playing(!state.playing) });
  const twoButton = h("button", { class: "button", type: "button", "aria-pressed": "false", title: "Two steps side by side (c)", onclick: () => two(!state.two) }, icon("two"), h("span", null, "Two steps"));
  const marks = s("svg", { class: "marks", preserveAspectRatio: "none", "aria-hidden": "true" });
  const ends = h("div", { class: "ends" }), film = h("div", { class: "stack tight" }), again = h("div", { class: "stack tight" }), warning = h("p", { class: "note warn", hidden: true });
  const speed = h("select", { "aria-label": "Sheets a second", onchange: () => { state.speed = Number(speed.value); } }, [2, 4, 8, 15, 30].map((rate) => h("option", { value: rate, selected: rate === state.speed }, `${rate} a second`)));
  const now = () => state.steps[state.at[0]];
  const save = menu("Save", [
    ["This sheet, PNG", () => sheet(now())],
    ["The whole run, GIF", () => filmed("gif")], ["The whole run, WebP", () => filmed("webp")], ["The whole run, MP4", () => filmed("mp4")],
  ]);
  fill(body, h("div", { class: "viewer" },
    h("div", { class: "row" }, playButton, speed, twoButton, h("span", { class: "grow" }),
      h("div", { class: "row tight" }, h("button", { class: "icon", type: "button", "aria-label": "Smaller", title: "Smaller (−)", onclick: () => zoom(-1) }, icon("minus")), h("button", { class: "icon", type: "button", "aria-label": "Larger", title: "Larger (+)", onclick: () => zoom(1) }, icon("plus")),
      h("button", { class: "icon", type: "button", "aria-label": "Full screen", title: "Full screen (f)", onclick: full }, icon("full")), save)),
    h("div", { class: "timeline panel" }, marks, slider, other, ends), warning, stage,
    side ? film : h("p", { class: "note" }, "The sheets of this run show pairs, not one latent per tile: they cannot be cut into film strips.")));

  function pane(index) {
    const canvas = h("canvas", { role: "img", tabindex: "0", width: 1, height: 1 }), frame = h("div", { class: "frame", hidden: true }), caption = h("figcaption");
    const heads = h("div", { class: "heads", "aria-hidden": "true" }), box = h("div", { class: "sheet" }, heads, canvas, frame);
    canvas.addEventListener("click", (event) => {
      if (!side) return;
      const { left, top, width } = canvas.getBoundingClientRect(), scale = canvas.width / width, pitch = side + gap;
      const columns = Math.round((canvas.width - gap) / pitch), column = Math.min(columns - 1, Math.floor(((event.clientX - left) * scale) / pitch)), row = Math.floor(((event.clientY - top) * scale) / pitch);
      choose(row * columns + column);
    });
    canvas.addEventListener("keydown", (event) => {
      if (!side || !["Enter"].includes(event.key)) return;
      choose(state.latent === null ? 0 : state.latent + 1);
    });
    return { node: h("figure", null, caption, box), canvas, frame, heads, caption, shown: -1, index };
  }

  function size(image) {
    const room = Math.max(200, (stage.clientWidth - 28) / (state.two && innerWidth > 720 ? 2 : 1) - 26);
    const fit = Math.min(room / image.naturalWidth, (document.fullscreenElement ? innerHeight - 90 : Math.max(innerHeight * 0.72, 420)) / image.naturalHeight);
    const base = fit > 2 && pixels ? Math.floor(fit * 2) / 2 : Math.min(fit, 4);
    return base * 1.25 ** state.zoom;
  }

  async function show(pane) {
    const step = state.steps[state.at[pane.index]];
    pane.wanted = step;
    pane.caption.textContent = `step ${count(step)}`;
    try {
      const image = await sheets.get(step);
      if (pane.wanted !== step) return;
      draw(pane.canvas, image);
      const scale = size(image);
      pane.canvas.style.width = `${image.naturalWidth * scale}px`;
      pane.canvas.className = pixels && scale >= 1 ? "pixel" : "smooth";
      pane.canvas.setAttribute("aria-label", `Samples of the same latents at step ${step}${names.length ? `, a column for each class: ${names.join(", ")}` : ""}. Enter follows one latent.`);
      if (names.length) headings(pane, scale);
      highlight(pane, scale);
      warning.hidden = true;
    } catch (error) {
      warning.textContent = error.message;
      warning.hidden = false;
    }
  }

  function headings(pane, scale) {
    const width = (side + gap) * scale;
    pane.heads.style.paddingLeft = `${(gap / 2) * scale}px`;
    fill(pane.heads, names.map((name) => { const head = h("span", { title: name }, name); head.style.width = `${width}px`; return head; }));
  }

  function highlight(pane, scale) {
    pane.frame.hidden = state.latent === null;
    if (state.latent === null) return;
    const pitch = side + gap, columns = Math.round((pane.canvas.width - gap) / pitch), column = state.latent % columns, row = Math.floor(state.latent / columns);
    Object.assign(pane.frame.style, { left: `${(column * pitch + gap) * scale - 3}px`, top: `${pane.canvas.offsetTop + (row * pitch + gap) * scale - 3}px`, width: `${side * scale + 6}px`, height: `${side * scale + 6}px` });
  }

  function move(which, index) {
    state.at[which] = Math.max(0, Math.min(state.steps.length - 1, index));
    const step = state.steps[state.at[which]];
    const control = which ? other : slider;
    control.value = state.at[which];
    control.setAttribute("aria-valuetext", `step ${step}`);
    show(panes[which]);
    if (!which) { for (let ahead = 1; ahead <= (state.playing ? 6 : 2); ahead++) if (state.steps[state.at[0] + ahead] !== undefined) sheets.get(state.steps[state.at[0] + ahead]).catch(() => {}); mark(); }
  }

  let clock;
  function playing(on) {
    state.playing = on;
    clearTimeout(clock);
    fill(playButton, icon(on ? "pause" : "play"), on ? "Stop" : "Play");
    if (!on) return;
    if (state.at[0] === state.steps.length - 1) move(0, 0);
    const next = async () => {
      if (!state.playing) return;
      if (state.at[0] >= state.steps.length - 1) { playing(false); return; }
      const began = performance.now();
      await sheets.get(state.steps[state.at[0] + 1]).catch(() => {});
      if (!state.playing) return;
      move(0, state.at[0] + 1);
      clock = setTimeout(next, Math.max(0, 1000 / state.speed - (performance.now() - began)));
    };
    clock = setTimeout(next, 1000 / state.speed);
  }

  function two(on) {
    state.two = on;
    twoButton.setAttribute("aria-pressed", String(on));
    other.hidden = !on;
    stage.classList.toggle("two", on);
    fill(stage, panes[0].node, on && panes[1].node);
    move(0, state.at[0]);
    if (on) move(1, state.at[1]);
  }

  function zoom(by) {
    state.zoom = by === 0 ? 0 : Math.max(-8, Math.min(12, state.zoom + by));
    panes.slice(0, state.two ? 2 : 1).forEach(show);
  }
  function full() { if (document.fullscreenElement) document.exitFullscreen(); else stage.requestFullscreen?.().catch(complain); }

  const sheet = (step) => saveFrom(`/api/runs/${run.id}/sheets/${step}`, `${run.name.replaceAll("/", "-")}-step-${step}.png`).catch(complain);
  const filmed = (kind, latent = null) => saveFrom(`/api/runs/${run.id}/film?kind=${kind}&frames=90&fps=${Math.min(30, state.speed)}${latent === null ? "" : `&index=${latent}`}`).catch(complain);

  let chosen = 0;
  async function choose(latent) {
    const columns = Math.round((panes[0].canvas.width - gap) / (side + gap)), rows = Math.round((panes[0].canvas.height - gap) / (side + gap));
    if (latent !== null) latent = ((latent % (columns * rows)) + columns * rows) % (columns * rows);
    state.latent = latent;
    panes.slice(0, state.two ? 2 : 1).forEach(show);
    const turn = ++chosen;
    if (latent === null) { intro(); return; }
    const frames = Math.min(200, Math.max(8, Math.min(state.steps.length, 48)));
    const image = new Image();
    image.src = `/api/runs/${run.id}/strip?index=${latent}&frames=${frames}&v=${state.steps.length}`;
    const [{ steps }] = await Promise.all([get(`/api/runs/${run.id}/strip/steps?frames=${frames}`), image.decode()]);
    if (turn !== chosen) return;
    const strip = h("div", { class: "film" }, steps.map((step, place) => {
      const canvas = h("canvas", { class: grain(side), width: side, height: side });
      canvas.getContext("2d").drawImage(image, place * (side + gap), 0, side, side, 0, 0, side, side);
      return h("button", { type: "button", "data-step": step, "aria-label": `step ${step}`, onclick: () => move(0, nearestIndex(state.steps, step)) }, canvas, count(step));
    }));
    const field = h("input", { type: "number", min: 0, max: columns * rows - 1, value: latent, "aria-label": "Latent", onchange: () => choose(Number(field.value)) });
    fill(film, h("div", { class: "row" }, h("h2", null, "One latent through training"), names.length > 0 && h("span", { class: "state" }, `class ${names[latent % names.length]}`), h("label", { class: "check small muted" }, "latent", field), h("span", { class: "grow" }),
      menu("Save strip", [["PNG", () => saveFrom(`/api/runs/${run.id}/strip?index=${latent}&frames=${frames}&across=12&keep=1`).catch(complain)], ["GIF", () => filmed("gif", latent)], ["MP4", () => filmed("mp4", latent)]]),
      h("button", { class: "button", type: "button", onclick: () => choose(null) }, "Close")), strip, again);
    mark();
  }
  const intro = () => fill(film, h("p", { class: "note" }, "Click a tile to follow its latent through training as a film strip."));

  function mark() {
    const step = now();
    let nearest = null;
    for (const button of film.querySelectorAll("[data-step]")) {
      button.removeAttribute("aria-current");
      if (nearest === null || Math.abs(button.dataset.step - step) < Math.abs(nearest.dataset.step - step)) nearest = button;
    }
    nearest?.setAttribute("aria-current", "true");
    const remade = run.checkpoints.some((one) => one.step === step), told = `${step} ${remade}`;
    if (again.dataset.told === told) return;
    again.dataset.told = told;
    const sheet = `${run.place}/samples/step-${String(step).padStart(8, "0")}.png`;
    fill(again, remade ? [h("p", { class: "small muted" }, `The sheet of step ${count(step)} again, with its seed and latents:`), copyable(`${about.program} remake ${quoted(sheet)}`, "the command that makes this sheet again")]
      : h("p", { class: "small muted" }, `No checkpoint of step ${count(step)} was kept: this sheet cannot be made again. Those with a mark above can.`));
  }

  function timeline() {
    const last = state.steps.length - 1 || 1, place = (step) => (nearestIndex(state.steps, step) / last) * 1000;
    slider.max = other.max = state.steps.length - 1;
    marks.setAttribute("viewBox", "0 0 1000 14");
    fill(marks, run.checkpoints.map(({ step, best }) => s("line", { class: best ? "k3" : "k8", "stroke-width": best ? 5 : 2.5, x1: place(step), x2: place(step), y1: best ? 0 : 5, y2: 14 }, s("title", null, `checkpoint ${step}${best ? ", the best" : ""}`))),
      run.events.map((event) => s("line", { class: `k${toneOfEvent(event)}`, "stroke-width": 4, x1: place(event.step), x2: place(event.step), y1: 0, y2: 14 }, s("title", null, `${event.event} at step ${event.step}: ${event.text}`))));
    fill(ends, h("span", null, `step ${count(state.steps[0])}`), h("span", null, `${count(state.steps.length)} sheets · marks: checkpoints${run.checkpoints.some((one) => one.best) ? ", the best in green" : ""}${run.events.length ? `, ${[...new Set(run.events.map((event) => event.event))].join(", ")}` : ""}`), h("span", null, `step ${count(state.steps.at(-1))}`));
  }

  function onKey(event) {
    const target = event.target instanceof Element ? event.target : document.body;
    if (typing(event) || target.closest("dialog, [role=menu], .chart")) return;
    const onButton = target.matches("button, a, summary"), far = event.shiftKey ? 10 : 1;
    if (event.key === "ArrowLeft" && target !== other) move(0, state.at[0] - far);
    else if (event.key === "ArrowRight" && target !== other) move(0, state.at[0] + far);
    else if (event.key === "Home") move(0, 0);
    else if (event.key === "End") move(0, state.steps.length - 1);
    else if (event.key === " " && !onButton) playing(!state.playing);
    else if (event.key === "c") two(!state.two);
    else if (event.key === "f") full();
    else if (event.key === "+" || event.key === "=") zoom(1);
    else if (event.key === "-") zoom(-1);
    else if (event.key === "0") zoom(0);
    else return;
    event.preventDefault();
  }
  const onSize = () => panes.slice(0, state.two ? 2 : 1).forEach(show);
  addEventListener("keydown", onKey);
  addEventListener("resize", onSize);
  stage.addEventListener("fullscreenchange", onSize);
  playing(false);
  timeline();
  intro();
  move(0, state.at[0]);
  return {
    leave() { playing(false); removeEventListener("keydown", onKey); removeEventListener("resize", onSize); },
    changed(found) {
      const atEnd = state.at[0] === state.steps.length - 1, step = now();
      Object.assign(run, found);
      state.steps = found.steps_of_sheets.length ? found.steps_of_sheets : state.steps;
      timeline();
      mark();
      if (atEnd) move(0, state.steps.length - 1); else { state.at[0] = nearestIndex(state.steps, step); slider.value = state.at[0]; }
    },
  };
}
