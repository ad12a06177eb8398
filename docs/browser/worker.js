// The model, in a thread of its own: ONNX Runtime on WebAssembly, the graphs that ship with litetext.

import * as ort from "./ort/ort.wasm.min.mjs";
import { resizedPhoto } from "./picture.js";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;

const LARGEST_EXPONENT = 80; // exp of it is finite in float32
let model = null, seen = null;

const sigmoid = (logit) => 1 / (1 + Math.exp(-Math.max(-LARGEST_EXPONENT, Math.min(LARGEST_EXPONENT, logit))));
const bytes = async (url) => {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be fetched (${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
};

const tasks = {
  // Load a model's graphs and weights; nothing is fetched later.
  async load({ folder }) {
    model = seen = null;
    const settings = await (await fetch(`${folder}/model.json`)).json();
    const [detector, words] = await Promise.all([bytes(`${folder}/segmenter.safetensors`), bytes(`${folder}/text.safetensors`)]);
    const sessions = {};
    for (const [name, weights] of [["vision", detector], ["decoder", detector], ["pixels", detector], ["text", words]]) {
      const externalData = [{ path: "model.safetensors", data: weights }];
      sessions[name] = await ort.InferenceSession.create(await bytes(`${folder}/${name}.onnx`), { externalData, executionProviders: ["wasm"] });
    }
    model = { ...settings, ...sessions };
    return { threads: ort.env.wasm.numThreads };
  },

  // Run the vision encoder on a picture's pixels; every phrase is then asked of what it gives.
  async see({ pixels, width, height }) {
    const side = model.image_size;
    const image = new ort.Tensor("uint8", resizedPhoto({ data: pixels, width, height }, side), [side, side, 3]);
    seen = await model.vision.run({ image });
  },

  // Find a phrase, given as token ids: every detection with at least the lowest score, the best first.
  async find({ ids, lowest }) {
    const { tokens } = await model.text.run({ ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]) });
    const mask = new ort.Tensor("bool", new Uint8Array(ids.length), [1, ids.length]);
    const levels = Object.keys(seen).filter((name) => name.startsWith("features_")).sort();
    const image = seen.attended ? { attended: seen.attended } : { features: seen[levels.at(-1)] }; // which older graphs read
    const found = await model.decoder.run({ ...image, text: tokens, mask });
    const presence = sigmoid(found.presence_logits.data[0]);
    const scores = Array.from(found.logits.data, (logit) => sigmoid(logit) * presence);
    const best = scores.map((_, query) => query).filter((query) => scores[query] >= lowest).sort((a, b) => scores[b] - scores[a]);
    if (!best.length) return { presence, instances: [] };
    const width = found.decoder_hidden_states.dims[2];
    const states = Float32Array.from(best.flatMap((query) => [...found.decoder_hidden_states.data.subarray(query * width, (query + 1) * width)]));
    const { mask_logits } = await model.pixels.run({
      ...Object.fromEntries(levels.slice(0, -1).map((level) => [level, seen[level]])),
      decoder_hidden_states: new ort.Tensor("float32", states, [1, best.length, width]),
      encoder_hidden_states: found.encoder_hidden_states, text: tokens, mask,
    });
    const [, h, w] = mask_logits.dims;
    const instances = best.map((query, row) => {
      const logits = mask_logits.data.slice(row * h * w, (row + 1) * h * w);
      const map = model.mask_resampling === "logits" ? logits : logits.map(sigmoid);
      return { score: scores[query], box: [...found.boxes.data.subarray(4 * query, 4 * query + 4)], map, h, w };
    });
    return { presence, instances };
  },
};

self.onmessage = async ({ data: { number, task, ...given } }) => {
  try {
    self.postMessage({ number, result: await tasks[task](given) });
  } catch (error) {
    self.postMessage({ number, error: error.message ?? String(error) });
  }
};
