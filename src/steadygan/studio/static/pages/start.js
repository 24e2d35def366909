// A new run from a folder of images: its contents, a recipe, D's inputs, a forecast.

import { count, fill, grain, h, number, once, toast } from "../lib/dom.js";
import { get, latest, paint, pixels, post } from "../lib/api.js";
import { about } from "../lib/store.js";
import { jobList } from "./steer.js";

const FIELDS = [["train.hours", "hours", "number"], ["data.size", "size, pixels", "number"], ["train.steps", "steps", "number"], ["train.batch_size", "batch size", "number"], ["train.seed", "seed", "number"], ["train.sample_every", "sheet every … steps", "number"], ["train.checkpoint_every", "checkpoint every … steps", "number"], ["model.conditional", "by class", "switch"], ["data.flip", "flip at random", "switch"]];
const POLICIES = ["color", "translation", "cutout"];

export function start(main) {
  fill(main, h("p", { class: "muted" }, "Opening …"));
  let leave = null;
  get("/api/control/options").then((options) => { leave = page(main, options); }).catch((error) => fill(main, h("div", { class: "empty" }, h("h2", null, "New runs are switched off"), h("p", null, error.message), h("pre", null, `${about.program} studio runs/ --control --data photos/`))));
  return () => leave?.();
}

function page(main, options) {
  const state = { place: "digits", recipe: options.recipes.at(-1) };
  const place = h("select", { "aria-label": "Images", onchange: () => { state.place = place.value; unasked(); report(); } }, options.places.map(({ id, name }) => h("option", { value: id }, name)));
  const found = h("div", { class: "stack" }), cards = h("div", { class: "recipes", role: "radiogroup", "aria-label": "Recipe", onkeydown: (event) => onArrow(event) }), preset = h("select", { "aria-label": "Or any preset", onchange: () => { if (preset.value) choose({ preset: preset.value, title: preset.value, settings: {} }); } }, h("option", { value: "" }, "or any preset …"), options.presets.map((name) => h("option", { value: name }, name)));
  const inputs = new Map(), fields = h("div", { class: "fields" }), policy = h("div", { class: "chips", role: "group", "aria-label": "DiffAugment" }), chosenPolicy = new Set();
  const seen = h("div", { class: "seen" }), forecast = h("div", { class: "stack tight" }), jobs = h("section", { class: "panel stack" });
  const name = h("input", { type: "text", value: "my-run", "aria-label": "Name of the run", pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]{0,63}" });
  const touched = new Set();

  for (const [key, text, kind] of FIELDS) {
    const input = kind === "number" ? h("input", { type: "number", min: 0, step: key === "train.hours" ? "any" : 1, placeholder: "as the preset", oninput: () => { touched.add(key); unasked(); } }) : h("select", { onchange: () => { touched.add(key); unasked(); } }, [["", "as the preset"], ["true", "yes"], ["false", "no"]].map(([value, label]) => h("option", { value }, label)));
    inputs.set(key, input);
    fields.append(h("label", { class: "field" }, text, input));
  }
  function settings() {
    const out = {};
    for (const [key, input] of inputs) if (input.value !== "") out[key] = input.value === "true" ? true : input.value === "false" ? false : Number(input.value);
    if (touched.has("policy")) out["augment.diffaugment.policy"] = POLICIES.filter((one) => chosenPolicy.has(one));
    return out;
  }
  const plan = () => ({ preset: state.recipe.preset, place: state.place, settings: settings() });

  function choose(recipe) {
    state.recipe = recipe;
    for (const [key, input] of inputs) if (!touched.has(key) || key in recipe.settings) input.value = recipe.settings[key] ?? (touched.has(key) ? input.value : "");
    const wanted = recipe.settings["augment.diffaugment.policy"];
    chosenPolicy.clear();
    touched.delete("policy");
    if (wanted) { wanted.forEach((one) => chosenPolicy.add(one)); touched.add("policy"); }
    recipes();
    policies();
    preview();
    unasked();
  }
  // A forecast holds only for the settings that it was requested for.
  const unasked = () => fill(forecast, h("p", { class: "small muted" }, "Not forecast yet: it builds the networks and times a few steps."));
  function recipes() {
    const focused = cards.contains(document.activeElement);
    const best = options.recipes.find((one) => (one.place === "digits") === (state.place === "digits"));
    fill(cards, options.recipes.map((one) => h("button", { class: "recipe", type: "button", role: "radio", "aria-checked": String(one === state.recipe), tabindex: one === state.recipe ? 0 : -1, onclick: () => choose(one) }, h("b", null, one.title, one === best && h("span", { class: "state finished" }, "fits")), h("span", { class: "small muted" }, one.why), h("span", { class: "small mono faint" }, one.preset))));
    if (!options.recipes.includes(state.recipe)) cards.append(h("button", { class: "recipe", type: "button", role: "radio", "aria-checked": "true" }, h("b", null, state.recipe.title), h("span", { class: "small muted" }, `as published: ${about.program} presets shows it`)));
    if (focused) cards.querySelector("[aria-checked=true]").focus();
  }
  // As with radio buttons, an arrow moves the choice.
  function onArrow(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key], all = options.recipes;
    if (!by) return;
    event.preventDefault();
    const to = (all.indexOf(state.recipe) + by + all.length) % all.length;
    choose(all[to]);
    cards.children[to].focus();
  }
  const policies = () => fill(policy, POLICIES.map((one) => h("button", { class: "chip", type: "button", "aria-pressed": String(chosenPolicy.has(one)), onclick: () => { touched.add("policy"); unasked(); if (!chosenPolicy.delete(one)) chosenPolicy.add(one); policies(); preview(); } }, one)));

  async function report() {
    const asked = state.place, before = state.recipe;
    fill(found, h("p", { class: "muted", role: "status" }, "Reading every image …"));
    try {
      const about = await post("/api/control/folder", { place: asked });
      if (asked !== state.place) return;
      const { smallest, largest } = about.width_height, classes = Object.entries(about.classes);
      const rows = [["images", count(about.count)], ["sizes", smallest ? `${smallest.join("×")}${String(smallest) === String(largest) ? "" : ` to ${largest.join("×")}`}` : "–"], ["colours", about.channels === 1 ? "grey" : "RGB"], ["classes", classes.length || "none"], ["duplicates", count(about.duplicates.images ?? 0)], ["unreadable", count(about.unreadable_count)]];
      fill(found, h("dl", { class: "figures" }, rows.map(([key, value]) => h("div", null, h("dt", null, key), h("dd", null, value)))),
        classes.length > 0 && h("p", { class: "small muted" }, classes.slice(0, 24).map(([key, value]) => `${key} (${count(value)})`).join(", "), classes.length > 24 && " …"),
        about.unreadable_count > 0 && h("details", null, h("summary", null, "Unreadable files"), h("pre", null, Object.entries(about.unreadable).map(([file, why]) => `${file}: ${why}`).join("\n"))));
      const fits = options.recipes.find((one) => (one.place === "digits") === (asked === "digits"));
      // A recipe that was chosen while the images were read stays.
      if (options.recipes.includes(before) && state.recipe === before && before !== fits) choose(fits); else { recipes(); preview(); }
    } catch (error) { fill(found, h("p", { class: "note warn" }, error.message)); }
  }
  const preview = latest(async () => {
    try {
      const answer = await pixels("/api/control/preview", plan());
      const titles = [["as they are cropped", "centre square, resized"], ["as D sees them", answer.policy.length ? `DiffAugment: ${answer.policy.join(", ")}` : "no DiffAugment"], ["as consistency terms augment them", answer.consistent ? "CR or bCR compares D on these with the ones above" : "no consistency term uses this"]];
      fill(seen, titles.map(([title, note], row) => h("div", null, h("p", { class: "small" }, h("b", null, title), h("span", { class: "muted" }, ` · ${note}`)), h("div", { class: "line" }, Array.from({ length: answer.count }, (_, i) => { const canvas = h("canvas", { class: grain(answer.width), role: "img", "aria-label": `image ${i + 1} ${title}` }); paint(canvas, answer, row * answer.count + i); return canvas; })))));
    } catch (error) { fill(seen, h("p", { class: "note warn" }, error.message)); }
  });
  async function predict(event) {
    event.target.disabled = true;
    fill(forecast, h("p", { class: "muted", role: "status" }, "Building the networks and timing a few steps …"));
    const asked = JSON.stringify(plan());
    try {
      const { lines } = await post("/api/control/forecast", plan());
      if (asked !== JSON.stringify(plan())) { unasked(); return; }
      fill(forecast, h("table", null, h("tbody", null, lines.map(([key, ...texts]) => h("tr", null, h("th", null, key), texts.map((text, i) => h("td", { class: i ? "muted" : "" }, text)))))));
    } catch (error) { fill(forecast, h("p", { class: "note warn" }, error.message)); } finally { event.target.disabled = false; }
  }
  async function begin() {
    if (!name.checkValidity() || !name.value) { toast("A name has letters, digits, dots, dashes and underscores", true); return; }
    await post("/api/control/start", { ...plan(), name: name.value });
    toast(`${name.value} starts`);
    await started.show();
    jobs.scrollIntoView({ block: "nearest" });
  }
  fill(main, h("div", { class: "stack" }, h("h1", null, "New run"), h("ol", { class: "steps" },
    h("li", { class: "panel stack" }, h("h2", null, "Images"), h("div", { class: "row" }, place), found, options.places.length === 1 && h("p", { class: "note" }, "Only the embedded digits are offered: start the studio with --data FOLDER to choose your own images.")),
    h("li", { class: "panel stack" }, h("h2", null, "Recipe"), cards, h("div", null, preset)),
    h("li", { class: "panel stack" }, h("h2", null, "Settings"), fields, h("div", { class: "stack tight" }, h("span", { class: "small muted" }, "DiffAugment (for few images)"), policy), h("div", null, h("button", { class: "button", type: "button", onclick: preview }, "Show the images again")), seen),
    h("li", { class: "panel stack" }, h("h2", null, "Forecast"), h("div", null, h("button", { class: "button", type: "button", onclick: predict }, "Forecast time and memory")), forecast),
    h("li", { class: "panel stack" }, h("h2", null, "Start"), h("div", { class: "row" }, h("label", { class: "check" }, "name", name), h("button", { class: "button primary", type: "button", onclick: once("Starting …", begin) }, "Start training")))), jobs));
  choose(state.recipe);
  report();
  const started = jobList(jobs);
  return started.stop;
}
