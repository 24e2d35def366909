// Play with a translation: the user's image, or the run's held-out images.

import { complain, copyable, count, fill, grain, h, icon, quoted } from "../lib/dom.js";
import { latest, paint, pixels, post, savePosted } from "../lib/api.js";
import { about } from "../lib/store.js";
import { checkpointChoice, renewChoice } from "./play.js";

const MANY = 4, LARGEST = 11 << 20;
const domain = (direction, end) => (end ? direction.at(-1) : direction[0]).toUpperCase();

export function translate(body, run) {
  const state = { first: 0, direction: "a2b", image: null, name: "", about: null };
  const choice = checkpointChoice(run, () => describe()), weights = h("select", { "aria-label": "Weights", onchange: () => describe() }, h("option", { value: "ema" }, "averaged (ema)"), h("option", { value: "raw" }, "as trained (raw)"));
  const way = h("select", { "aria-label": "Direction", onchange: () => { state.direction = way.value; all(); } }, h("option", { value: "a2b" }, "A to B"));
  const file = h("input", { type: "file", accept: "image/*", class: "visually-hidden", tabindex: "-1", "aria-label": "An image of yours", onchange: () => { if (file.files[0]) take(file.files[0]); file.value = ""; } });
  const drop = h("div", { class: "drop" }, icon("save"), h("p", null, h("b", null, "Drop an image here"), ", paste one, or"), h("button", { class: "button primary", type: "button", onclick: () => file.click() }, "Choose an image"), h("p", { class: "small muted" }, "It is sent only to the studio’s process, and keeps its size."), file);
  const mine = h("section", { class: "panel stack", hidden: true, "aria-label": "Your image" }), own = h("div", { class: "stack" }), speed = h("span", { class: "small muted num", role: "status" });
  const command = h("div");
  fill(body, h("div", { class: "two-cols" },
    h("div", { class: "panel stack" },
      h("div", { class: "fields" }, h("label", { class: "field" }, "checkpoint", choice), h("label", { class: "field" }, "weights", weights), h("label", { class: "field" }, "direction", way)),
      drop, h("div", { class: "stack tight" }, h("p", { class: "small muted" }, "A whole folder, from a terminal:"), command)),
    h("div", { class: "stack" }, mine,
      h("section", { class: "panel stack" }, h("div", { class: "row" }, h("h2", null, "Images of this run"), speed, h("span", { class: "grow" }), h("span", { class: "nowrap" }, h("button", { class: "icon", type: "button", "aria-label": "The images before", onclick: () => turn(-MANY) }, icon("left")), h("button", { class: "icon", type: "button", "aria-label": "The next images", onclick: () => turn(MANY) }, icon("right")))), own))));

  const request = () => ({ step: Number(choice.value), weights: weights.value, direction: state.direction });
  const figure = (answer, index, label) => { const canvas = h("canvas", { class: grain(answer.width), role: "img", "aria-label": label }); paint(canvas, answer, index); return h("figure", null, canvas, h("figcaption", null, label)); };
  const turn = (by) => { state.first = Math.max(0, state.first + by); held(); };
  const all = () => { fill(command, copyable(`${about.program} translate ${quoted(run.place)} --input FOLDER --out FOLDER${state.direction === "a2b" ? "" : ` --direction ${state.direction}`}`, "the command")); held(); if (state.image) given(); };

  const held = latest(async () => {
    if (!own.children.length) fill(own, h("p", { class: "muted", role: "status" }, "Reading the images that were held out …"));
    const began = performance.now();
    try {
      const answer = await pixels(`/api/runs/${run.id}/pairs`, { ...request(), first: state.first, count: MANY }), { direction } = state;
      state.first = answer.indices[0];
      const each = answer.aligned ? 3 : 2;
      fill(own, h("div", { class: "pairs" }, answer.indices.map((index, i) => h("div", { class: "pair" }, figure(answer, i * each, `${domain(direction)}, image ${count(index)}`), figure(answer, i * each + 1, `${domain(direction, true)}, made`), answer.aligned && figure(answer, i * each + 2, `${domain(direction, true)}, real`)))),
        h("p", { class: "small muted" }, `${answer.part === "train" ? "These are training images: none was held out." : `None of these ${count(answer.of)} images was trained on.`}`));
      speed.textContent = `${Math.round(performance.now() - began)} ms on ${state.about?.device ?? "…"}`;
    } catch (error) { fill(own, h("p", { class: "note warn" }, `The run’s own images are not shown: ${error.message}`)); speed.textContent = ""; }
  });

  const given = latest(async () => {
    const { image, name, direction } = state;
    mine.hidden = false;
    mine.setAttribute("aria-busy", "true");
    if (!mine.children.length) fill(mine, h("p", { class: "muted", role: "status" }, "Translating …"));
    try {
      const answer = await pixels(`/api/runs/${run.id}/translated`, { ...request(), image });
      fill(mine, h("div", { class: "row" }, h("h2", null, name), h("span", { class: "grow" }), h("button", { class: "button", type: "button", onclick: () => savePosted(`/api/runs/${run.id}/translated`, { ...request(), image, keep: true }).catch(complain) }, icon("save"), "PNG"), h("button", { class: "button", type: "button", onclick: () => { state.image = null; mine.hidden = true; mine.replaceChildren(); } }, "Close")),
        h("div", { class: "pair large" }, figure(answer, 0, `${domain(direction)}, yours`), figure(answer, 1, `${domain(direction, true)}, made`)),
        h("p", { class: "small muted" }, `${answer.width} × ${answer.height} pixels; trained at ${state.about?.size ?? run.config.data?.size}.`));
    } catch (error) { fill(mine, h("p", { class: "note warn" }, error.message)); }
    mine.removeAttribute("aria-busy");
  });

  async function take(chosen) {
    if (chosen.size > LARGEST) { complain(new Error(`${chosen.name} is larger than 11 MB: use ${about.program} translate`)); return; }
    const url = await new Promise((resolve, reject) => { const reader = new FileReader(); reader.onload = () => resolve(reader.result); reader.onerror = () => reject(reader.error); reader.readAsDataURL(chosen); });
    state.image = url.slice(url.indexOf(",") + 1);
    state.name = chosen.name || "Your image";
    if (state.image) given(); else complain(new Error(`${state.name} is empty`));
  }
  async function describe() {
    try {
      state.about = await post(`/api/runs/${run.id}/translator`, { step: Number(choice.value), weights: weights.value });
      fill(way, state.about.directions.map((one) => h("option", { value: one }, `${domain(one)} to ${domain(one, true)}`)));
      if (!state.about.directions.includes(state.direction)) state.direction = state.about.directions[0];
      way.value = state.direction;
      if (state.about.licence && !own.parentElement.querySelector(".terms")) own.after(h("p", { class: "small muted terms" }, `Terms of the weights that make these images: ${state.about.licence}`));
    } catch (error) { fill(own, h("p", { class: "note warn" }, error.message)); return; }
    all();
  }
  const over = (event) => { if (event.dataTransfer?.types.includes("Files")) { event.preventDefault(); drop.classList.toggle("over", event.type === "dragover"); } };
  const dropped = (event) => { over(event); const image = event.dataTransfer?.files[0]; if (image) take(image).catch(complain); };
  const pasted = (event) => { const image = [...(event.clipboardData?.files ?? [])][0]; if (image) take(image).catch(complain); };
  const listeners = [["dragover", over], ["dragleave", over], ["drop", dropped], ["paste", pasted]];
  for (const [name, listener] of listeners) addEventListener(name, listener);
  speed.textContent = "Starting the process that makes images …";
  describe();
  return { leave() { for (const [name, listener] of listeners) removeEventListener(name, listener); }, changed(found) { if (renewChoice(choice, found)) describe(); } };
}
