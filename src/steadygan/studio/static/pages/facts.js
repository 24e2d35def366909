// A run's origin, configuration, checkpoints and exports.

import { complain, copyable, count, fill, h, menu, quoted } from "../lib/dom.js";
import { savePosted } from "../lib/api.js";
import { about } from "../lib/store.js";

const leaf = (value) => (value === null ? "null" : Array.isArray(value) ? value.map(String).join(", ") || "[]" : typeof value === "object" ? JSON.stringify(value) : String(value));

export function tree(found, open = 1) {
  return Object.entries(found).map(([key, value]) => value && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length
    ? h("details", { open: open > 0 }, h("summary", null, key), h("div", null, tree(value, open - 1)))
    : h("div", { class: "leaf" }, h("span", null, key), h("span", null, leaf(value))));
}

export function facts(body, run) {
  const { about: origin, ...config } = run.config;
  const take = (step, to) => savePosted(`/api/runs/${run.id}/export`, { step, to }).catch(complain);
  const forms = (step) => menu("Export", [["Weights and card (zip)", () => take(step, "zip")], ["ONNX", () => take(step, "onnx")], ["torch program", () => take(step, "torch")], ["State dict", () => take(step, "state-dict")]]);
  const place = quoted(run.place), name = JSON.stringify(run.place);
  const uses = run.translates
    ? [[`${about.program} translate ${place} --input FOLDER --out FOLDER`, "the command to translate images"], [`import steadygan\n\ntranslator = steadygan.load_translator(${name})\nimages = translator.translate(pixels, "a2b")  # uint8, (N, C, H, W)`, "the Python lines"]]
    : [[`${about.program} sample ${place} --num 64`, "the command for samples"], [`${about.program} export ${place} --to hub:USER/NAME`, "the command for the Hugging Face Hub"], [`import steadygan\n\ngenerator = steadygan.load(${name})\nimages = generator.sample(16, seed=0)`, "the Python lines"]];
  const checkpoints = h("section", { class: "panel stack" });
  const list = (found) => fill(checkpoints, h("h2", null, "Checkpoints"), found.checkpoints.length ? h("div", { class: "scroll tall" }, h("table", null, h("thead", null, h("tr", null, h("th", null, "step"), !run.translates && h("th", null, "export"), h("th", null, "generator"), h("th", null, "SHA-256 of the weights"))), h("tbody", null, [...found.checkpoints].reverse().map((one) => h("tr", null, h("td", { class: "nowrap" }, count(one.step), one.best && " (best)"), !run.translates && h("td", null, forms(one.step)), h("td", null, one.generator ? `${one.generator.kind ?? ""} ${one.generator.size ?? ""}²` : "not readable"), h("td", { class: "mono" }, one.sha256?.slice(0, 16) ?? "–")))))) : h("p", { class: "muted" }, "None yet."),
      !run.translates && h("p", { class: "small muted" }, "Export: the averaged generator alone. The zip has safetensors, its description, a model card with scores and protocols, and a sheet of seeds 0 to 31; steadygan.load opens it. ONNX runs in a browser too."));
  list(run);
  fill(body,
    checkpoints,
    h("section", { class: "panel stack" }, h("h2", null, "Use it elsewhere"), uses.map(([text, label]) => copyable(text, label)), run.state !== "running" && copyable(`${about.program} train ${place} --resume ${run.hours ? `train.hours=${2 * run.hours}` : `train.steps=${2 * (run.steps ?? run.step)}`}`, "the command to train longer")),
    origin && Object.values(origin).some(Boolean) && h("section", { class: "panel stack" }, h("h2", null, "Recipe"), h("div", { class: "tree" }, tree(origin))),
    h("section", { class: "panel stack" }, h("h2", null, "Configuration"), h("div", { class: "tree" }, tree(config, 2))),
    h("section", { class: "panel stack" }, h("h2", null, "Provenance"), h("div", { class: "tree" }, tree(run.provenance, 2))));
  let listed = JSON.stringify(run.checkpoints);
  return { changed(found) { const now = JSON.stringify(found.checkpoints); if (now !== listed) list(found); listed = now; } };
}
