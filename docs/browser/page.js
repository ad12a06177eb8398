// The page: a picture and phrases in, masks out. The model runs in worker.js; nothing is sent anywhere.

import { Cleaner } from "./cleaning.js";
import { maskAt, runLengths, withoutRepeats } from "./picture.js";
import { Tokenizer } from "./tokenizer.js";

const COLORS = ["#d6336c", "#1971c2", "#2f9e44", "#e8590c", "#7048e8", "#0c8599", "#a61e4d", "#846300", "#364fc7", "#5c940d"];
const LOWEST = 0.1; // detections are kept from here on, so that the slider asks nothing again
const LONGEST = 1280; // side of what is drawn, in pixels
const MOST_PIXELS = 40e6;
const ABOUT = {
  photo: "photo tells fairly well whether an everyday thing is in a photograph, and roughly where. It is litetext's own small model, much weaker than SAM3.",
  mini: "mini knows 64 kinds of things in scenes drawn like the samples, their colours, sizes and places. It knows no photographs.",
};

const at = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// Calls of the worker, answered in their order.
class Model {
  constructor() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.waiting = new Map();
    this.number = 0;
    this.worker.onmessage = ({ data: { number, result, error } }) => {
      const { done, failed } = this.waiting.get(number);
      this.waiting.delete(number);
      error === undefined ? done(result) : failed(new Error(error));
    };
    this.worker.onerror = (event) => {
      for (const { failed } of this.waiting.values()) failed(new Error(event.message || "the model could not be started"));
      this.waiting.clear();
    };
  }

  ask(task, given = {}, transfer = []) {
    return new Promise((done, failed) => {
      this.waiting.set(++this.number, { done, failed });
      this.worker.postMessage({ number: this.number, task, ...given }, transfer);
    });
  }
}

const model = new Model();
let settings = null, tokenizer = null;
let picture = null; // { name, width, height, shown: canvas }
let answers = new Map(); // phrase -> { color, presence, instances }
let pointed = null, pinned = null; // which of the visible instances the pointer or the focus is on; which was clicked
let turn = Promise.resolve();

function say(text, wrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", wrong);
}

// One thing after another, in the order in which it was asked for.
function next(work) {
  turn = turn.then(work).catch((error) => say(error.message, true));
  return turn;
}

async function load() {
  const name = at("model").value, folder = `models/${name}`;
  say(`Loading ${name} …`);
  at("about").textContent = ABOUT[name];
  forget();
  picture = null;
  const needed = [`${folder}/model.json`, "models/merges.bin", "models/text.json"];
  const [described, merges, tables] = await Promise.all(needed.map((path) => fetch(path)));
  settings = await described.json();
  tokenizer = new Tokenizer(new Cleaner(await tables.json()), new Uint16Array(await merges.arrayBuffer()), settings.vocabulary);
  at("samples").replaceChildren(...settings.samples.map(sampleButton));
  const { threads } = await model.ask("load", { folder: new URL(folder, location.href).href });
  say(`${name} is ready (${threads === 1 ? "one thread" : `${threads} threads`}). Choose a picture.`);
}

function sampleButton({ image, phrases }) {
  const look = make("img", { src: image, alt: `Sample: ${image.split("/").at(-1).split(".")[0]}` });
  return make("button", {
    type: "button",
    onclick: () => next(async () => {
      await take(await (await fetch(image)).blob(), image.split("/").at(-1));
      for (const phrase of phrases) await find(phrase);
    }),
  }, look);
}

async function take(file, name) {
  say("Reading the picture …");
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${name} is no picture that this browser reads; give a PNG, JPEG or WebP`);
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`${name} has ${width} x ${height} pixels; give one of at most 40 million`);
  const canvas = painted(bitmap, width, height);
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  picture = { name, width, height, shown: painted(canvas, Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))) };
  forget();
  const start = performance.now();
  await model.ask("see", { pixels: data, width, height }, [data.buffer]);
  say(`The picture is encoded (${seconds(start)}). Ask for something.`);
}

// A picture on white, at a size.
function painted(image, width, height) {
  const canvas = make("canvas", { width, height }), context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  return canvas;
}

async function find(phrase) {
  if (!picture) throw new Error("choose a picture first");
  if (answers.has(phrase)) return;
  say(`Looking for ${phrase} …`);
  const start = performance.now();
  const ids = tokenizer.encode(phrase, settings.context_length);
  const { presence, instances } = await model.ask("find", { ids, lowest: LOWEST });
  const { width, height } = picture.shown;
  for (const one of instances) one.mask = maskAt(one, width, height, settings.mask_threshold);
  const visible = instances.filter((one) => one.mask.includes(1));
  const kept = settings.suppression === null ? visible : withoutRepeats(visible.map((one) => one.mask), settings.suppression).map((index) => visible[index]);
  const used = new Set([...answers.values()].map((answer) => answer.color));
  const color = COLORS.find((one) => !used.has(one)) ?? COLORS[answers.size % COLORS.length];
  answers.set(phrase, { color, presence, instances: kept });
  release();
  draw();
  say(`${phrase}: ${counted(phrase)} (${seconds(start)}); there with a probability of ${presence.toFixed(2)}.`);
}

const seconds = (start) => `${((performance.now() - start) / 1000).toFixed(2)} s`;
const shown = (phrase) => answers.get(phrase).instances.filter((one) => one.score >= Number(at("threshold").value));
const counted = (phrase) => shown(phrase).length || "none";

function forget() {
  answers = new Map();
  release();
  draw();
}

const release = () => { pointed = pinned = null; };

// Everything that reaches the threshold, phrase by phrase.
const visible = () => [...answers.keys()].flatMap((phrase) => shown(phrase).map((one) => ({ phrase, color: answers.get(phrase).color, ...one })));

function draw() {
  const canvas = at("canvas"), found = visible();
  at("shown").textContent = Number(at("threshold").value).toFixed(2);
  if (picture) {
    [canvas.width, canvas.height] = [picture.shown.width, picture.shown.height];
    paintAll();
    const summary = [...answers.keys()].map((phrase) => `${phrase}: ${counted(phrase)}`).join(", ");
    canvas.setAttribute("aria-label", `${picture.name}. ${summary || "Nothing was asked yet"}`);
  } else {
    canvas.removeAttribute("width");
    canvas.removeAttribute("height");
  }
  at("phrases").replaceChildren(...[...answers].map(([phrase, { color }]) => {
    const chip = make("button", { type: "button", textContent: `${phrase} ×`, onclick: () => { answers.delete(phrase); release(); draw(); } });
    chip.setAttribute("aria-label", `Take away ${phrase}`);
    chip.style.borderColor = color;
    return make("li", {}, chip);
  }));
  at("instances").replaceChildren(...found.map(({ phrase, color, score }, index) => instanceButton(`${phrase} ${score.toFixed(2)}`, color, index)));
  at("png").disabled = at("coco").disabled = !picture;
}

// Draw the picture and its masks, or the one that is pointed at or pinned; the buttons stay, since one of them may have the focus.
function paintAll() {
  const context = at("canvas").getContext("2d", { willReadFrequently: true });
  context.drawImage(picture.shown, 0, 0);
  const only = pointed ?? pinned;
  visible().forEach((one, index) => { if (only === null || only === index) paint(context, one); });
}

function point(index) {
  if (pointed === index) return;
  pointed = index;
  paintAll();
}

// Show one instance alone until it is chosen again.
function pin(index) {
  pinned = pinned === index ? null : index;
  [...at("instances").querySelectorAll("button")].forEach((button, row) => button.setAttribute("aria-pressed", String(row === pinned)));
  paintAll();
}

function instanceButton(text, color, index) {
  const button = make("button", { type: "button", textContent: text, onclick: () => pin(index) });
  button.style.borderColor = color;
  button.setAttribute("aria-pressed", "false");
  button.onmouseenter = button.onfocus = () => point(index);
  button.onmouseleave = button.onblur = () => point(null);
  return make("li", {}, button);
}

// Which of the visible instances lies under the pointer, null for none.
function under(event) {
  const { width, height } = at("canvas"), box = at("canvas").getBoundingClientRect();
  const x = Math.floor((event.clientX - box.left) * width / box.width), y = Math.floor((event.clientY - box.top) * height / box.height);
  const index = visible().findIndex(({ mask }) => mask[y * width + x]);
  return index < 0 ? null : index;
}

// Lay a mask over the picture: its color, and a line where it ends.
function paint(context, { mask, color }) {
  const { width, height } = context.canvas, image = context.getImageData(0, 0, width, height);
  const rgb = [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
  for (let pixel = 0; pixel < mask.length; pixel++) {
    if (!mask[pixel]) continue;
    const x = pixel % width;
    const inside = x > 1 && x < width - 2 && mask[pixel - 2] && mask[pixel + 2] && mask[pixel - 2 * width] && mask[pixel + 2 * width];
    const share = inside ? 0.4 : 1;
    for (let channel = 0; channel < 3; channel++) image.data[4 * pixel + channel] += share * (rgb[channel] - image.data[4 * pixel + channel]);
  }
  context.putImageData(image, 0, 0);
}

// What is shown, as a COCO dataset with masks of the picture's own size.
function coco() {
  const { name, width, height } = picture, phrases = [...answers.keys()];
  const annotations = phrases.flatMap((phrase, category) => shown(phrase).map((one) => {
    const mask = maskAt(one, width, height, settings.mask_threshold), [x1, y1, x2, y2] = one.box;
    return {
      image_id: 1, category_id: category + 1, score: one.score, iscrowd: 0, area: mask.reduce((sum, pixel) => sum + pixel, 0),
      bbox: [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height],
      segmentation: { size: [height, width], counts: runLengths(mask, width, height) },
    };
  }));
  return {
    images: [{ id: 1, file_name: name, width, height }],
    categories: phrases.map((phrase, category) => ({ id: category + 1, name: phrase })),
    annotations: annotations.map((one, index) => ({ id: index + 1, ...one })),
  };
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const stem = () => picture.name.replace(/\.[^.]*$/, "");
const taken = (file) => file && next(() => take(file, file.name || "picture"));

at("model").onchange = () => next(load);
at("threshold").oninput = () => { release(); draw(); };
at("canvas").onpointermove = (event) => picture && point(under(event));
at("canvas").onpointerleave = () => picture && point(null);
at("canvas").onclick = (event) => { const index = picture && under(event); if (index !== null) pin(index); };
at("file").onchange = () => taken(at("file").files[0]);
at("ask").onsubmit = (event) => {
  event.preventDefault();
  const phrase = at("phrase").value.trim();
  if (phrase) next(async () => { await find(phrase); at("phrase").value = ""; });
};
at("png").onclick = () => { point(null); at("canvas").toBlob((blob) => save(blob, `${stem()}_masks.png`)); };
at("coco").onclick = () => save(new Blob([JSON.stringify(coco())], { type: "application/json" }), `${stem()}.json`);
addEventListener("paste", (event) => taken([...event.clipboardData.files][0]));
at("drop").ondragover = (event) => { event.preventDefault(); at("drop").classList.add("over"); };
at("drop").ondragleave = () => at("drop").classList.remove("over");
at("drop").ondrop = (event) => { event.preventDefault(); at("drop").classList.remove("over"); taken(event.dataTransfer.files[0]); };

next(load);
