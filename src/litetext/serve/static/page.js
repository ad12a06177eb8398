// The page of `litetext serve`: everything it shows comes from this server's own HTTP interface.

const PALETTE = ["#d6336c", "#1971c2", "#2f9e44", "#e8590c", "#7048e8", "#0c8599", "#a61e4d", "#846300", "#364fc7", "#5c940d"];
const LOWEST = 0.05; // what is asked for; the slider shows what reaches a higher score, without asking again

const at = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

function say(text, wrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", wrong);
}

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  let message = `the server answers ${answer.status}`;
  try { message = (await answer.json()).error.message; } catch { /* not a refusal of this server's */ }
  throw new Error(message);
}

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value === null || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) {
      one instanceof Blob ? data.append(name, one, one.name || "image") : data.append(name, one);
    }
  }
  return { method: "POST", body: data };
}

const act = (button, work) => button.addEventListener("click", async (event) => {
  event.preventDefault();
  button.disabled = true;
  try { await work(); } catch (error) { say(error.message, true); } finally { button.disabled = false; }
});

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// An image that is dropped, pasted, chosen, taken with a camera, or one of the samples.
class PhotoInput {
  constructor(place, samples, changed) {
    this.file = null;
    this.changed = changed;
    const chooser = make("input", { type: "file", accept: "image/*" });
    const camera = make("input", { type: "file", accept: "image/*", className: "hidden-text", tabIndex: -1 });
    camera.setAttribute("capture", "environment");
    camera.setAttribute("aria-label", "Photo from the camera");
    const shot = make("button", { type: "button", textContent: "Camera", onclick: () => camera.click() });
    const drop = make("div", { className: "drop" }, make("label", {}, "Image: choose, drop or paste", chooser), make("div", { className: "row" }, shot, camera));
    for (const input of [chooser, camera]) input.onchange = () => input.files[0] && this.take(input.files[0]);
    drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
    drop.ondragleave = () => drop.classList.remove("over");
    drop.ondrop = (event) => { event.preventDefault(); drop.classList.remove("over"); event.dataTransfer.files[0] && this.take(event.dataTransfer.files[0]); };
    const shown = make("div", { className: "samples", role: "group" });
    shown.setAttribute("aria-label", "Samples");
    for (const sample of samples) {
      const button = make("button", { type: "button", onclick: () => this.takeSample(sample) }, make("img", { src: sample.url, alt: `Sample ${sample.name}`, loading: "lazy" }));
      shown.append(button);
    }
    place.append(drop, shown);
  }

  async takeSample(sample) {
    const blob = await (await ask(sample.url)).blob();
    this.take(new File([blob], sample.name, { type: blob.type }), sample.phrases);
  }

  async take(file, phrases = []) {
    this.file = file;
    try { await this.changed(await createImageBitmap(file), phrases); } catch { say(`${file.name} is no image that this browser can show`, true); this.file = null; }
  }

  get() {
    if (!this.file) throw new Error("choose an image first");
    return this.file;
  }
}

// Phrases as chips; Enter or a comma ends one, a click removes one.
class Chips {
  constructor(place) {
    this.phrases = [];
    this.input = make("input", { autocomplete: "off", placeholder: "white dog" });
    this.list = make("ul");
    this.list.setAttribute("aria-label", "Phrases");
    place.append(make("label", {}, "Phrases, each ended by Enter or a comma", this.input), this.list);
    this.input.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === ",") { event.preventDefault(); this.add(this.input.value); }
      if (event.key === "Backspace" && !this.input.value && this.phrases.length) this.remove(this.phrases.at(-1));
    };
    this.input.onblur = () => this.add(this.input.value);
  }

  add(text) {
    for (const phrase of text.split(",").map((one) => one.trim())) if (phrase && !this.phrases.includes(phrase)) this.phrases.push(phrase);
    this.input.value = "";
    this.show();
  }

  set(phrases) { this.phrases = [...phrases]; this.show(); }

  remove(phrase) { this.phrases = this.phrases.filter((one) => one !== phrase); this.show(); }

  show() {
    this.list.replaceChildren(...this.phrases.map((phrase, row) => {
      const chip = make("button", { type: "button", textContent: `${phrase} ×`, onclick: () => { this.remove(phrase); this.input.focus(); } });
      chip.style.borderColor = PALETTE[row % PALETTE.length];
      chip.setAttribute("aria-label", `Remove ${phrase}`);
      return make("li", {}, chip);
    }));
  }
}

// An image with the outlines of what was found on it; instances light up under the pointer, a click isolates one.
class Viewer {
  constructor(canvas, list = null, pen = null) {
    Object.assign(this, { canvas, list, pen, image: null, found: null, level: 0.5, lit: null, alone: null, boxes: [], drawing: null });
    canvas.onpointermove = (event) => this.moved(event);
    canvas.onpointerleave = () => this.light(null);
    canvas.onpointerdown = (event) => this.pressed(event);
    canvas.onpointerup = () => this.released();
    for (const radio of document.getElementsByName(pen || "")) radio.onchange = () => canvas.classList.toggle("draws", this.mode !== "look");
  }

  get mode() { return this.pen ? document.querySelector(`input[name=${this.pen}]:checked`).value : "look"; }

  open(image) {
    Object.assign(this, { image, found: null, lit: null, alone: null, boxes: [] });
    this.canvas.width = image.width;
    this.canvas.height = image.height;
    this.canvas.style.width = `min(100%, 78vh * ${image.width} / ${image.height})`;
    this.show();
  }

  put(found) {
    const phrases = found.phrases.map((one) => one.phrase);
    this.found = found.instances.map((one) => {
      const path = new Path2D();
      for (const part of one.polygons) {
        part.forEach(([x, y], corner) => (corner ? path.lineTo(x, y) : path.moveTo(x, y)));
        path.closePath();
      }
      return { ...one, path, color: PALETTE[phrases.indexOf(one.phrase) % PALETTE.length] };
    });
    this.alone = this.lit = null;
    this.show();
  }

  shown() { return (this.found || []).filter((one) => one.score >= this.level); }

  show() {
    if (!this.image) return;
    this.draw();
    if (!this.list) return;
    this.list.replaceChildren(...this.shown().map((one) => {
      const button = make("button", { type: "button", textContent: `${one.phrase} ${one.score.toFixed(2)}`, onclick: () => this.isolate(one) });
      button.style.borderColor = one.color;
      button.setAttribute("aria-pressed", String(this.alone === one));
      button.onfocus = button.onpointerenter = () => this.light(one);
      button.onblur = button.onpointerleave = () => this.light(null);
      one.button = button;
      return make("li", {}, button);
    }));
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    const pen = Math.max(1.5, Math.max(width, height) / 400);
    context.drawImage(this.image, 0, 0, width, height);
    if (this.alone) { context.fillStyle = "#000000b0"; context.fillRect(0, 0, width, height); context.save(); context.clip(this.alone.path, "evenodd"); context.drawImage(this.image, 0, 0, width, height); context.restore(); }
    for (const one of this.alone ? [this.alone] : this.shown()) {
      context.fillStyle = one.color + (this.alone ? "00" : one === this.lit ? "90" : "50");
      context.fill(one.path, "evenodd");
      context.lineJoin = "round";
      context.strokeStyle = "#ffffffc0"; context.lineWidth = pen * 2; context.stroke(one.path);
      context.strokeStyle = one.color; context.lineWidth = pen * (one === this.lit ? 2 : 1.2); context.stroke(one.path);
    }
    for (const { box, label } of this.drawing ? [...this.boxes, this.drawing] : this.boxes) {
      context.lineWidth = pen * 1.5;
      context.strokeStyle = label ? "#2f9e44" : "#e03131";
      context.setLineDash(label ? [] : [pen * 4, pen * 3]);
      context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
      context.setLineDash([]);
    }
  }

  place(event) {
    const shown = this.canvas.getBoundingClientRect();
    return [(event.clientX - shown.left) * this.canvas.width / shown.width, (event.clientY - shown.top) * this.canvas.height / shown.height];
  }

  under([x, y]) {
    const context = this.canvas.getContext("2d");
    return this.shown().filter((one) => context.isPointInPath(one.path, x, y, "evenodd")).sort((a, b) => a.area - b.area)[0] || null;
  }

  light(one) { if (one !== this.lit) { this.lit = one; this.draw(); } }

  isolate(one) {
    this.alone = this.alone === one ? null : one;
    for (const each of this.found || []) each.button && each.button.setAttribute("aria-pressed", String(this.alone === each));
    this.draw();
  }

  moved(event) {
    if (!this.image) return;
    if (!this.drawing) { if (this.mode === "look") this.light(this.under(this.place(event))); return; }
    const [x, y] = this.place(event);
    const [a, b] = this.drawing.start;
    this.drawing.box = [Math.min(a, x), Math.min(b, y), Math.max(a, x), Math.max(b, y)];
    this.draw();
  }

  pressed(event) {
    if (!this.image) return;
    const place = this.place(event);
    if (this.mode === "look") { const one = this.under(place); if (one || this.alone) this.isolate(one || this.alone); return; }
    this.canvas.setPointerCapture(event.pointerId);
    this.drawing = { start: place, box: [...place, ...place], label: Number(this.mode) };
  }

  released() {
    if (!this.drawing) return;
    const { box, label } = this.drawing;
    this.drawing = null;
    if (box[2] - box[0] >= 2 && box[3] - box[1] >= 2) this.boxes.push({ box, label });
    this.draw();
  }

  examples() {
    if (!this.boxes.length) return {};
    return { boxes: JSON.stringify(this.boxes.map((one) => one.box)), box_labels: JSON.stringify(this.boxes.map((one) => one.label)) };
  }
}

const found = async (fields) => {
  const begun = performance.now();
  const answer = await (await ask("v1/segment", form({ threshold: LOWEST, masks: "polygons", tolerance: 0.7, ...fields }))).json();
  return { ...answer, seconds: (performance.now() - begun) / 1000 };
};

const options = (select, names, chosen = 0) => select.replaceChildren(...names.map((name, row) => new Option(name, name, row === chosen, row === chosen)));

function slider(id, viewers) {
  at(id).oninput = () => {
    at(`${id}-shown`).textContent = Number(at(id).value).toFixed(2);
    for (const viewer of viewers) { viewer.level = Number(at(id).value); viewer.show(); }
  };
}

const counted = (viewer) => `${viewer.shown().length} instance${viewer.shown().length === 1 ? "" : "s"}`;

function startTabs(pasted) {
  const tabs = [...at("tabs").children];
  const choose = (tab, focus = true) => {
    for (const one of tabs) {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
      at(one.getAttribute("aria-controls")).hidden = one !== tab;
    }
    if (focus) tab.focus();
    history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
    say("");
  };
  tabs.forEach((tab, row) => {
    tab.onclick = () => choose(tab);
    tab.onkeydown = (event) => {
      const step = { ArrowRight: row + 1, ArrowLeft: row - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (step !== undefined) { event.preventDefault(); choose(tabs.at(step % tabs.length)); }
    };
  });
  const named = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
  if (named) choose(named, false);
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    const panel = tabs.find((tab) => tab.getAttribute("aria-selected") === "true").getAttribute("aria-controls");
    if (file && pasted[panel]) { event.preventDefault(); pasted[panel].take(file); }
  });
}

const spot = (kind, panel) => document.querySelector(`.${kind}[data-for=${panel}]`);

function startSegment(samples, models) {
  const viewer = new Viewer(at("segment-view"), at("segment-list"), "segment-pen");
  const chips = new Chips(spot("chips", "segment"));
  options(at("segment-model"), models);
  const run = async () => {
    say("looking …");
    const answer = await found({ image: photo.get(), phrases: chips.phrases, model: at("segment-model").value, ...viewer.examples() });
    viewer.put(answer);
    say(`${counted(viewer)} in ${answer.seconds.toFixed(2)} s${answer.cached ? ", the image's features were kept" : ""}`);
  };
  const photo = new PhotoInput(spot("photo-input", "segment"), samples, async (image, phrases) => {
    viewer.open(image);
    if (phrases.length) { chips.set(phrases); await run(); }
  });
  act(at("segment-run"), run);
  slider("segment-level", [viewer]);
  at("segment-level").addEventListener("input", () => viewer.found && say(counted(viewer)));
  at("segment-clear").onclick = () => { viewer.boxes = []; viewer.show(); };
  at("segment-box-form").onsubmit = (event) => {
    event.preventDefault();
    const box = at("segment-box").value.split(",").map(Number);
    if (box.length !== 4 || box.some(Number.isNaN) || box[0] >= box[2] || box[1] >= box[3]) { say("a box is x1, y1, x2, y2 in pixels", true); return; }
    viewer.boxes.push({ box, label: viewer.mode === "0" ? 0 : 1 });
    at("segment-box").value = "";
    viewer.show();
  };
  for (const button of document.querySelectorAll("[data-download]")) {
    act(button, async () => {
      const format = button.dataset.download;
      const fields = { image: photo.get(), phrases: chips.phrases, model: at("segment-model").value, threshold: viewer.level, format, ...viewer.examples() };
      const stem = photo.get().name.replace(/\.\w+$/, "");
      save(await (await ask("v1/segment", form(fields))).blob(), stem + { png: "_masks.png", coco: ".json", yolo: ".txt" }[format]);
    });
  }
  return photo;
}

function startTrack() {
  const chips = new Chips(spot("chips", "track"));
  let job = null;
  const show = async () => {
    const result = await (await ask(`v1/track/${job}/result`)).json();
    at("track-objects").tBodies[0].replaceChildren(...result.objects.map((one) => make("tr", {},
      ...[`#${one.number}`, one.prompt, one.frames, `${one.first.toFixed(2)} s`, `${one.last.toFixed(2)} s`, one.score.toFixed(2)].map((text) => make("td", { textContent: text })))));
    at("track-video").src = `v1/track/${job}/files/overlay.mp4`;
    at("track-video").hidden = at("track-objects").hidden = false;
    at("track-files").replaceChildren(...["overlay.mp4", "objects.png", "coco_video.json", "veval.json", "mot.csv"].map((name) =>
      make("li", {}, make("a", { href: `v1/track/${job}/files/${name}`, download: name, textContent: name }))));
    say(`${result.objects.length} object${result.objects.length === 1 ? "" : "s"} in ${result.frames} frames`);
  };
  const follow = async () => {
    for (;;) {
      const now = await (await ask(`v1/track/${job}`)).json();
      at("track-progress").max = now.total || Math.max(1, now.frames);
      at("track-progress").value = now.frames;
      if (now.state === "done") return show();
      if (now.state === "failed") throw new Error(now.error);
      if (now.state === "cancelled") return say("cancelled");
      say(now.state === "waiting" ? "waiting for its turn …" : `${now.frames} of ${now.total || "?"} frames`);
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  };
  act(at("track-run"), async () => {
    const file = at("track-file").files[0];
    if (!file) throw new Error("choose a video first");
    say("sending the video …");
    job = (await (await ask("v1/track", form({ video: file, phrases: chips.phrases, every: at("track-every").value }))).json()).id;
    at("track-cancel").disabled = false;
    try { await follow(); } finally { at("track-cancel").disabled = true; }
  });
  at("track-cancel").onclick = () => ask(`v1/track/${job}`, { method: "DELETE" }).catch((error) => say(error.message, true));
}

function startCompare(samples, models, parameters) {
  const viewers = ["a", "b"].map((side) => new Viewer(at(`compare-view-${side}`)));
  const chips = new Chips(spot("chips", "compare"));
  options(at("compare-a"), models);
  options(at("compare-b"), models, models.length > 1 ? 1 : 0);
  let answers = [];
  const table = () => {
    if (!answers.length) return;
    const count = (viewer, phrase) => viewer.shown().filter((one) => one.phrase === phrase).length;
    const rows = [["parameters of the text encoder", ...answers.map((one) => parameters[one.model]?.toLocaleString("en") ?? "not known")],
      ["milliseconds", ...answers.map((one) => one.milliseconds.toFixed(0) + (one.cached ? " (features kept)" : ""))],
      ...answers[0].phrases.map(({ phrase }) => [`${phrase}: instances`, ...viewers.map((viewer) => count(viewer, phrase))]),
      ...answers[0].phrases.map(({ phrase }, row) => [`${phrase}: presence`, ...answers.map((one) => one.phrases[row].presence.toFixed(3))])];
    at("compare-table").tBodies[0].replaceChildren(...rows.map(([head, ...cells]) => {
      const row = make("tr", {}, make("th", { scope: "row", textContent: head }), ...cells.map((text) => make("td", { textContent: text })));
      return row;
    }));
    at("compare-table").hidden = false;
  };
  const run = async () => {
    say("looking …");
    const names = ["a", "b"].map((side) => at(`compare-${side}`).value);
    answers = [];
    for (const name of names) answers.push(await found({ image: photo.get(), phrases: chips.phrases, model: name }));
    answers.forEach((answer, row) => { viewers[row].put(answer); at(`compare-name-${"ab"[row]}`).textContent = names[row]; });
    table();
    say(viewers.map(counted).join(" and "));
  };
  const photo = new PhotoInput(spot("photo-input", "compare"), samples, async (image, phrases) => {
    for (const viewer of viewers) viewer.open(image);
    if (phrases.length) { chips.set(phrases); await run(); }
  });
  act(at("compare-run"), run);
  slider("compare-level", viewers);
  at("compare-level").addEventListener("input", table);
  return photo;
}

function startAudit() {
  act(at("audit-run"), async () => {
    const phrases = at("audit-phrases").value.split("\n").map((one) => one.trim()).filter(Boolean);
    if (!phrases.length) throw new Error("give phrases, one a line");
    say("auditing …");
    const page = await (await ask("v1/audit", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ phrases }) })).json();
    at("audit-report").src = page.report;
    at("audit-save").href = page.report;
    at("audit-report").hidden = at("audit-save").hidden = false;
    say(`${phrases.length} phrases`);
  });
}

function startConcepts(samples) {
  const viewer = new Viewer(at("concepts-view"), null, "concepts-pen");
  let counts = {};
  const list = async () => {
    const kept = (await (await ask("v1/concepts")).json()).concepts;
    at("concepts-table").tBodies[0].replaceChildren(...kept.map((one) => {
      const remove = make("button", { type: "button", textContent: "Forget" });
      remove.setAttribute("aria-label", `Forget ${one.name}`);
      act(remove, async () => { await ask(`v1/concepts/${encodeURIComponent(one.name)}`, { method: "DELETE" }); await list(); });
      const cells = [one.name, one.kind === "example" ? "boxes" : "phrase", one.threshold ?? "", counts[one.name] ?? ""];
      return make("tr", {}, ...cells.map((text) => make("td", { textContent: text })), make("td", {}, remove));
    }));
    return kept;
  };
  const photo = new PhotoInput(spot("photo-input", "concepts"), samples, async (image) => viewer.open(image));
  const keep = async () => {
    const fields = { name: at("concept-name").value, threshold: at("concept-threshold").value || null };
    if (viewer.boxes.length) Object.assign(fields, { image: photo.get() }, viewer.examples());
    await ask("v1/concepts", form(fields));
    say(`${fields.name} is kept`);
    at("concept-form").reset();
    viewer.boxes = [];
    viewer.show();
    await list();
  };
  at("concept-form").onsubmit = (event) => { event.preventDefault(); keep().catch((error) => say(error.message, true)); };
  at("concepts-clear").onclick = () => { viewer.boxes = []; viewer.show(); };
  act(at("concepts-try"), async () => {
    const kept = await list();
    if (!kept.length) throw new Error("keep a concept first");
    const answer = await found({ image: photo.get(), concepts: kept.map((one) => one.name), threshold: 0.5 });
    viewer.level = 0;
    viewer.put(answer);
    counts = Object.fromEntries(answer.phrases.map((one) => [one.phrase, one.count]));
    await list();
    say(`${answer.instances.length} instances of ${kept.length} concepts`);
  });
  list().catch((error) => say(error.message, true));
  return photo;
}

async function start() {
  const [served, samples] = await Promise.all([ask("v1/models"), ask("samples")].map(async (answer) => (await answer).json()));
  const models = served.models.map((one) => one.name);
  const parameters = Object.fromEntries(served.models.map((one) => [one.name, one.text_parameters]));
  const photos = { segment: startSegment(samples.samples, models), compare: startCompare(samples.samples, models, parameters), concepts: startConcepts(samples.samples) };
  startTrack();
  startAudit();
  startTabs(photos);
  document.body.dataset.ready = "yes";
}

start().catch((error) => say(error.message, true));
