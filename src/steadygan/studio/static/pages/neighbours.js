// Samples with their nearest training images, and their distances compared with those among the reals.

import { count, fill, grain, h, number, pill, toast } from "../lib/dom.js";
import { paint, pixels, post } from "../lib/api.js";
import { Classes } from "./classes.js";
import { checkpointChoice, noCheckpoint, parseSeeds, renewChoice } from "./play.js";

export function neighbours(body, run, { more }) {
  if (run.translates) { fill(body, h("div", { class: "empty" }, h("h2", null, "A translation has no nearest training images"), h("p", null, "Its images are made from other images: Play shows input, output and the real one side by side."), h("a", { class: "button", href: `#/run/${run.id}/play` }, "Play"))); return null; }
  if (!run.checkpoints.length) return noCheckpoint(body, "Neighbours are available from the first checkpoint on.", (found) => neighbours(body, found, { more }));
  const seedsField = h("input", { type: "text", value: more[0] ?? "0-7", "aria-label": "Seeds" }), choice = checkpointChoice(run, () => { offered = offer(); }), classes = new Classes(() => {});
  const button = h("button", { class: "button primary", type: "submit" }, "Look"), found = h("div", { class: "near" });
  const form = h("form", { class: "panel stack tight", onsubmit: (event) => { event.preventDefault(); look(); } },
    h("div", { class: "fields" }, h("label", { class: "field" }, "checkpoint", choice), h("label", { class: "field" }, "seeds", seedsField), button), classes.node,
    h("p", { class: "small muted" }, "Each sample with the training images nearest to it. A copy is much closer to a real image than real images are to each other."));
  fill(body, form, found);
  let gone = false, offered = null;
  if (more[1]) classes.choose(parseSeeds(more[1]));

  // The class names stored with this step's generator.
  async function offer() {
    try {
      const about = await post(`/api/runs/${run.id}/generator`, { step: Number(choice.value) });
      if (!gone) classes.offer(about.classes, about.class_names);
    } catch (error) { toast(error.message, true); }
  }

  async function look() {
    const seeds = parseSeeds(seedsField.value, 32);
    if (!seeds) { toast("Seeds are whole numbers and ranges: 3,17,100-120", true); return; }
    const asked = classes.chosen;
    button.disabled = true;
    fill(found, h("p", { class: "muted", role: "status" }, "Reading the training images and comparing; the first time takes longest …"));
    try {
      const answer = await pixels(`/api/runs/${run.id}/neighbours`, { step: Number(choice.value), seeds, classes: asked, k: 6 });
      await offered;
      if (!gone) show(answer, seeds, asked);
    } catch (error) {
      fill(found, h("p", { class: "note warn" }, `${error.message}`));
    } finally { button.disabled = false; }
  }

  function image(answer, index, text) {
    const canvas = h("canvas", { class: grain(answer.width), role: "img", "aria-label": text });
    paint(canvas, answer, index);
    return canvas;
  }

  function show(answer, seeds, asked) {
    const copies = answer.spaces.map((space) => space.closer.filter((share) => share < 0.02).length);
    const most = Math.max(...copies);
    fill(found,
      h("section", { class: `panel verdict ${most ? "warn" : "good"}` }, h("div", { class: "sign" }, pill(most ? "lost" : "finished").firstChild), h("div", { class: "stack tight" }, h("h2", { class: "said" }, most ? `${most} of ${seeds.length} samples are closer to a training image than 98 % of the training images are to each other.` : "None of these samples is unusually close to a training image."), h("p", { class: "muted" }, `Compared with ${count(answer.images)} training images, in ${answer.spaces.map((space) => space.name).join(" and in features: ")}.`, answer.spaces.length === 1 && " Features need an extractor’s weights, which are missing here; pixels do not reveal copies that were shifted or recoloured."))),
      seeds.map((seed, i) => h("section", { class: "panel case" }, h("figure", null, image(answer, i, `sample of seed ${seed}`), h("figcaption", null, named(seed, i, asked))),
        h("div", { class: "hits" }, answer.spaces.map((space, k) => h("div", { class: "stack tight" },
          h("p", { class: "small" }, h("b", null, space.name === "pixels" ? "in pixels" : `in features (${space.name})`), " ", h("span", { class: "muted" }, closer(space.closer[i], space, space.distances[i][0]))),
          h("div", { class: "line" }, space.distances[i].map((distance, j) => h("figure", null, image(answer, answer.count + k * answer.count * answer.k + i * answer.k + j, `training image ${space.indices[i][j]}, ${number(distance, 3)} away`), h("figcaption", null, number(distance, 3)))))))))));
  }
  function named(seed, i, asked) {
    const label = classes.of(i, asked);
    return `seed ${seed}${label ? ` · ${label.name}` : ""}`;
  }
  const closer = (share, space, first) => {
    const typical = number(space.among_reals[1], 3);
    if (share < 0.02) return `${number(first, 3)} away; reals are typically ${typical} from each other: closer than nearly all of them. Look for a copy.`;
    return `${number(first, 3)} away; reals are typically ${typical} from each other, ${share >= 1 ? "all" : `${Math.round(share * 100)} %`} of them closer than this`;
  };
  offered = offer();
  look();
  return { leave() { gone = true; }, changed(found) { if (renewChoice(choice, found)) offered = offer(); } };
}
