// Play with a checkpoint: seeds, classes, truncation, latents dragged, walks, favourites.

import { complain, copyable, count, fill, grain, h, icon, keep, kept, menu, quoted, toast, typing } from "../lib/dom.js";
import { latest, paint, pixels, post, savePosted } from "../lib/api.js";
import { about } from "../lib/store.js";
import { Classes } from "./classes.js";
import { Pad } from "./pad.js";
import { translate } from "./translate.js";

const COUNTS = [1, 4, 9, 16, 25, 36, 64];
const roll = () => Math.floor(Math.random() * 1e6);

export function parseSeeds(text, most = 64) {
  const seeds = [];
  for (const part of text.split(/[,\s]+/).filter(Boolean)) {
    const found = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(part);
    if (!found) return null;
    for (let seed = Number(found[1]); seed <= Number(found[2] ?? found[1]) && seeds.length < most; seed++) seeds.push(seed);
  }
  return seeds.length ? seeds : null;
}

export function checkpointChoice(run, onchange) {
  const select = h("select", { "aria-label": "Checkpoint", onchange });
  renewChoice(select, run);
  return select;
}

// A run in training writes checkpoints and removes old ones. Returns whether the chosen one was removed.
export function renewChoice(select, { checkpoints }) {
  const before = select.value, best = checkpoints.find((one) => one.best) ?? checkpoints.at(-1);
  const offered = [...checkpoints].reverse().map(({ step, best: isBest }) => [step, `step ${count(step)}${isBest ? " (best)" : ""}`]);
  if (offered.map(([, text]) => text).join() === [...select.options].map(({ text }) => text).join()) return false;
  fill(select, offered.map(([step, text]) => h("option", { value: step }, text)));
  const stays = checkpoints.some(({ step }) => String(step) === before);
  if (best) select.value = stays ? before : best.step;
  return Boolean(best) && !stays;
}

// Shows the page once the first checkpoint exists.
export function noCheckpoint(body, why, make) {
  fill(body, h("div", { class: "empty" }, h("h2", null, "No checkpoint yet"), h("p", null, why)));
  let page = null;
  return { leave() { page?.leave?.(); }, changed(found) { if (page) page.changed?.(found); else if (found.checkpoints.length) page = make(found); } };
}

export function play(body, run, { more }) {
  if (!run.checkpoints.length) return noCheckpoint(body, "Images can be made from the first checkpoint on (train.checkpoint_every).", (found) => play(body, found, { more }));
  if (run.translates) return translate(body, run);
  const state = { seeds: Array.from({ length: 16 }, (_, i) => i), truncation: null, at: [0, 0], directions: [100001, 100002], chosen: 0, about: null, walking: false };
  if (more[0]) { const seeds = parseSeeds(more[0]); if (seeds) state.seeds = seeds; }
  let favourites = kept("favourites", []).filter((one) => one.run === run.id);
  const choice = checkpointChoice(run, () => describe()), weights = h("select", { "aria-label": "Weights", onchange: () => describe() }, h("option", { value: "ema" }, "averaged (ema)"), h("option", { value: "raw" }, "as trained (raw)"));
  const seedsField = h("input", { type: "text", value: "0-15", spellcheck: "false", "aria-label": "Seeds, e.g. 3,17,100-120", onchange: () => { if (!seedsField.value.trim()) return; const seeds = parseSeeds(seedsField.value); if (!seeds) { toast("Seeds are whole numbers and ranges: 3,17,100-120", true); return; } state.seeds = seeds; ask(); } });
  const howMany = h("select", { "aria-label": "How many", onchange: () => { const first = state.seeds[0]; setSeeds(Array.from({ length: Number(howMany.value) }, (_, i) => first + i)); } }, COUNTS.map((many) => h("option", { value: many, selected: many === state.seeds.length }, many)));
  const off = h("input", { type: "checkbox", checked: true, onchange: () => { truncation.disabled = off.checked; state.truncation = off.checked ? null : Number(truncation.value); ask(); } });
  const truncation = h("input", { type: "range", min: 0.1, max: 2, step: 0.05, value: 1, disabled: true, "aria-label": "Truncation", oninput: () => { state.truncation = Number(truncation.value); ask(true); }, onchange: () => ask() });
  const truncationSaid = h("span", { class: "num small" }), classes = new Classes(() => ask());
  const pad = new Pad((x, y) => { state.at = [x, y]; ask(); }, () => { state.directions = [roll() + 1e5, roll() + 1e5]; ask(); });
  const mosaic = h("div", { class: "mosaic" }), speed = h("span", { class: "small muted num", role: "status" }), detail = h("section", { class: "panel", hidden: true, "aria-label": "The chosen image" }), favs = h("section", { class: "panel stack tight" });
  fill(body, h("div", { class: "two-cols playing" },
    h("div", { class: "panel stack controls" },
      h("div", { class: "fields" }, h("label", { class: "field" }, "checkpoint", choice), h("label", { class: "field" }, "weights", weights)),
      h("div", { class: "fields" }, h("label", { class: "field" }, "seeds", seedsField), h("label", { class: "field" }, "how many", howMany)),
      h("div", { class: "row" }, h("button", { class: "button primary", type: "button", title: "Other seeds (r)", onclick: () => setSeeds(other()) }, icon("dice"), "Other seeds"), h("button", { class: "icon", type: "button", "aria-label": "The seeds before", onclick: () => shift(-1) }, icon("left")), h("button", { class: "icon", type: "button", "aria-label": "The next seeds", onclick: () => shift(1) }, icon("right"))),
      classes.node,
      h("div", { class: "stack tight" }, h("div", { class: "row spread" }, h("span", { class: "small muted" }, "truncation ", truncationSaid), h("label", { class: "check small" }, off, "off")), truncation, h("p", { class: "small faint" }, "smaller is cleaner and less varied")),
      h("div", { class: "stack tight" }, h("span", { class: "small muted" }, "drag all latents along two directions"), pad.node)),
    h("div", { class: "stack" }, h("div", { class: "row" }, speed, h("span", { class: "grow" }), menu("Save these", [["Sheet, PNG", () => save("png")], ["Folder, zip", () => save("zip")], ["Walk through the seeds, GIF", () => save("gif")], ["Walk, WebP", () => save("webp")], ["Walk, MP4", () => save("mp4")]])), mosaic), h("div", { class: "stack aside" }, detail, favs)));

  const request = (seeds = state.seeds) => ({ step: Number(choice.value), weights: weights.value, seeds, classes: classes.chosen, truncation: state.truncation, moves: state.at.some(Boolean) ? state.directions.map((seed, i) => [seed, Number(state.at[i].toFixed(3))]).filter(([, far]) => far) : [] });

  let answer = null;
  // While the truncation slider moves, images are drafts: gathering batch-norm statistics takes longer, and waits for it to stop.
  const ask = latest(async (draft = false) => {
    truncationSaid.textContent = state.truncation ?? "off";
    const began = performance.now(), asked = request();
    try {
      answer = await pixels(`/api/runs/${run.id}/images`, { ...asked, draft });
      answer.asked = asked;
    } catch (error) { speed.textContent = error.message; return; }
    show();
    const took = performance.now() - began;
    speed.textContent = `${answer.count} images in ${took < 10 ? took.toFixed(1) : Math.round(took)} ms on ${state.about?.device ?? "…"}${draft ? " (draft)" : ""}`;
    speed.dataset.ms = took;
  });

  function show() {
    const { count: many } = answer, across = Math.ceil(Math.sqrt(many));
    mosaic.style.setProperty("--across", across);
    while (mosaic.children.length > many) mosaic.lastChild.remove();
    while (mosaic.children.length < many) { const index = mosaic.children.length; mosaic.append(h("button", { class: "tile", type: "button", "aria-pressed": "false", onclick: () => { state.chosen = index; chosen(true); } }, h("canvas", { class: grain(run.size) }), h("span"))); }
    [...mosaic.children].forEach((tile, i) => {
      paint(tile.firstChild, answer, i);
      const label = classes.of(i, answer.asked.classes);
      tile.lastChild.textContent = `${answer.asked.seeds[i]}${label ? ` · ${label.name}` : ""}`;
      tile.setAttribute("aria-label", `Seed ${answer.asked.seeds[i]}${label ? `, class ${label.name}` : ""}`);
      tile.setAttribute("aria-pressed", String(!detail.hidden && i === state.chosen));
    });
    if (!detail.hidden) chosen(false);
  }

  function chosen(bring) {
    const i = Math.min(state.chosen, answer.count - 1), seed = answer.asked.seeds[i], label = classes.of(i, answer.asked.classes), { asked } = answer;
    detail.hidden = false;
    [...mosaic.children].forEach((tile, k) => tile.setAttribute("aria-pressed", String(k === i)));
    const canvas = h("canvas", { class: grain(run.size), role: "img", "aria-label": `Image of seed ${seed}` });
    paint(canvas, answer, i);
    const one = { ...asked, seeds: [seed], classes: label ? [label.label] : null };
    fill(detail, h("div", { class: "detail" }, canvas, h("div", { class: "stack" },
      h("div", { class: "row" }, h("h2", null, `Seed ${seed}`), label && h("span", { class: "state" }, `class ${label.name}`), asked.truncation && h("span", { class: "state" }, `truncation ${asked.truncation}`), asked.moves.length > 0 && h("span", { class: "state" }, "moved")),
      h("div", { class: "row" }, h("button", { class: "button", type: "button", onclick: () => savePosted(`/api/runs/${run.id}/download`, { ...one, kind: "png" }).catch(complain) }, icon("save"), "PNG"), h("button", { class: "button", type: "button", onclick: () => favour(one, label) }, icon("star"), "Keep"), h("a", { class: "button", href: `#/run/${run.id}/neighbours/${seed}${label ? `/${label.label}` : ""}` }, "Nearest training images")),
      copyable(command(one, label), "the command"), copyable(python(one, label), "the Python lines"),
      h("p", { class: "small faint" }, `The PNG’s metadata holds all this: ${about.program} remake image.png makes it again.`))));
    if (bring) detail.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }
  const where = (one) => `${run.place}/checkpoints/step-${String(one.step).padStart(8, "0")}`;
  const command = (one, label) => [`${about.program} sample ${quoted(where(one))}`, `--seeds ${one.seeds[0]}`, label && `--classes ${label.label}`, one.truncation && `--truncation ${one.truncation}`, one.weights !== "ema" && "--weights raw", one.moves.length > 0 && `--moves ${one.moves.map(([seed, far]) => `${seed}:${far}`).join(",")}`, "--out image.png"].filter(Boolean).join(" ");
  const python = (one, label) => `import steadygan\n\ngenerator = steadygan.load(${JSON.stringify(where(one))}${one.weights !== "ema" ? ', weights="raw"' : ""})\nimage = generator.from_seeds([${one.seeds[0]}]${label ? `, classes=${label.label}` : ""}${one.truncation ? `, truncation=${one.truncation}` : ""}${one.moves.length ? `, moves=${JSON.stringify(one.moves)}` : ""})[0]`;

  function setSeeds(seeds) {
    state.seeds = seeds;
    const inOrder = seeds.every((seed, i) => seed === seeds[0] + i);
    seedsField.value = seeds.length > 1 && inOrder ? `${seeds[0]}-${seeds.at(-1)}` : seeds.join(",");
    if (COUNTS.includes(seeds.length)) howMany.value = seeds.length;
    ask();
  }
  const other = () => { const first = roll(); return Array.from({ length: state.seeds.length }, (_, i) => first + i); };
  const shift = (by) => setSeeds(state.seeds.map((seed) => Math.max(0, seed + by * state.seeds.length)));
  const save = (kind) => { const walk = ["gif", "webp", "mp4"].includes(kind); if (walk && state.seeds.length < 2) { toast("A walk needs two seeds or more", true); return; } const body = { ...request(walk ? state.seeds.slice(0, 24) : state.seeds), kind, scale: answer?.width < 200 ? Math.ceil(200 / answer.width) : 1 }; savePosted(`/api/runs/${run.id}/download`, walk ? { ...body, moves: [], steps: 12 } : body).catch(complain); };

  function favour(one, label) {
    favourites = [...favourites.filter((have) => JSON.stringify(have.one) !== JSON.stringify(one)), { run: run.id, one, name: label?.name ?? null }];
    keepAll();
    toast("Kept below, in this browser");
  }
  // A favourite with its checkpoint, class, truncation and moves.
  function recall(one) {
    if (![...choice.options].some(({ value }) => Number(value) === one.step)) { toast(`The checkpoint of step ${count(one.step)} is gone: this image cannot be made again`, true); return; }
    const [across, up] = one.moves ?? [];
    choice.value = one.step;
    weights.value = one.weights ?? "ema";
    classes.choose(one.classes);
    state.truncation = one.truncation ?? null;
    off.checked = truncation.disabled = state.truncation === null;
    if (state.truncation !== null) truncation.value = state.truncation;
    state.directions = [across?.[0] ?? roll() + 1e5, up?.[0] ?? roll() + 1e5];
    state.chosen = 0;
    setSeeds(one.seeds);
    pad.set(across?.[1] ?? 0, up?.[1] ?? 0);
  }
  const keepAll = () => { keep("favourites", [...kept("favourites", []).filter((have) => have.run !== run.id), ...favourites]); showFavourites(); };
  async function showFavourites() {
    if (!favourites.length) { fill(favs, h("p", { class: "small muted" }, "Choose an image and keep it: favourites stay in this browser, and can be walked through.")); return; }
    const tiles = favourites.map(({ one, name }, i) => h("button", { class: "tile", type: "button", "aria-label": `Favourite: seed ${one.seeds[0]}${name ? `, class ${name}` : ""}`, onclick: () => { if (!drop.checked) { recall(one); return; } favourites.splice(i, 1); keepAll(); } }, h("canvas", { class: grain(run.size) }), h("span", null, one.seeds[0])));
    const drop = h("input", { type: "checkbox" }), stage = h("canvas", { class: grain(run.size), width: 1, height: 1, hidden: true, role: "img", "aria-label": "A walk through the favourites" });
    const seeds = favourites.map(({ one }) => one.seeds[0]), labels = favourites.every(({ one }) => one.classes) ? favourites.map(({ one }) => one.classes[0]) : null;
    const walkBody = () => ({ ...request(seeds), classes: labels, moves: [], steps: 14 });
    fill(favs, h("div", { class: "row" }, h("h2", null, "Favourites"), h("span", { class: "grow" }), h("label", { class: "check small muted" }, drop, "click removes"), h("button", { class: "button", type: "button", disabled: seeds.length < 2, onclick: () => walk(stage, walkBody()) }, icon("play"), "Walk through them"), menu("Save", [["Sheet, PNG", () => savePosted(`/api/runs/${run.id}/download`, { ...walkBody(), steps: 12, kind: "png" }).catch(complain)], ["Walk, GIF", () => savePosted(`/api/runs/${run.id}/download`, { ...walkBody(), kind: "gif", scale: 4 }).catch(complain)], ["Walk, MP4", () => savePosted(`/api/runs/${run.id}/download`, { ...walkBody(), kind: "mp4", scale: 4 }).catch(complain)]])), h("div", { class: "favs" }, tiles), stage);
    for (const [i, { one }] of favourites.entries()) pixels(`/api/runs/${run.id}/images`, one).then((found) => paint(tiles[i].firstChild, found, 0)).catch(() => {});
  }
  async function walk(stage, body) {
    let found;
    try { found = await pixels(`/api/runs/${run.id}/walk`, body); } catch (error) { complain(error); return; }
    stage.hidden = false;
    stage.style.width = "220px";
    let frame = 0;
    clearInterval(state.walking);
    state.walking = setInterval(() => { const turn = frame++ % (2 * found.count - 2), at = turn < found.count ? turn : 2 * found.count - 2 - turn; if (stage.isConnected) paint(stage, found, at); else clearInterval(state.walking); }, 70);
  }

  async function describe() {
    try {
      state.about = await post(`/api/runs/${run.id}/generator`, { step: Number(choice.value), weights: weights.value });
    } catch (error) { speed.textContent = error.message; return; }
    classes.offer(state.about.classes, state.about.class_names);
    const { licence } = state.about;
    if (licence && !mosaic.parentElement.querySelector(".terms")) mosaic.after(h("p", { class: "small muted terms" }, `Terms of the weights that make these images: ${licence}`));
    ask();
  }
  const onKey = (event) => { if (!typing(event) && event.key === "r") setSeeds(other()); };
  addEventListener("keydown", onKey);
  speed.textContent = "Starting the process that makes images …";
  setSeeds(state.seeds);
  describe();
  showFavourites();
  return { leave() { clearInterval(state.walking); removeEventListener("keydown", onKey); }, changed(found) { if (renewChoice(choice, found)) describe(); } };
}
