// Pictures and masks as numbers: resizing as litetext/segment/resampling.py does it, run lengths as COCO writes them.

const LARGEST_BITS = 22, LARGEST_WEIGHT = 1 << 15;

// Return RGBA pixels as RGB of another size, bilinear with antialiasing, in the integers that torch computes in.
export function resizedPhoto({ data, width, height }, size) {
  const rgb = new Uint8Array(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel++) for (let channel = 0; channel < 3; channel++) rgb[3 * pixel + channel] = data[4 * pixel + channel];
  const rows = width === size ? rgb : resampled(rgb, height, width, 1, 3, size);
  return height === size ? rows : resampled(rows, 1, height, size * 3, 1, size);
}

// Resample the middle axis of [outer, length, inner * channels]; what stands behind it goes along.
function resampled(values, outer, length, inner, channels, wanted) {
  const { first, weights, taps, bits } = tapsOf(length, wanted);
  const behind = inner * channels, found = new Uint8Array(outer * wanted * behind);
  for (let before = 0; before < outer; before++) {
    for (let at = 0; at < wanted; at++) {
      for (let one = 0; one < behind; one++) {
        let total = 1 << (bits - 1);
        for (let tap = 0; tap < taps; tap++) {
          const from = Math.min(first[at] + tap, length - 1);
          total += values[(before * length + from) * behind + one] * weights[at * taps + tap];
        }
        found[(before * wanted + at) * behind + one] = Math.min(255, Math.max(0, total >> bits));
      }
    }
  }
  return found;
}

// For each new pixel: the first old one that it reads, its integer weights, and their bits. The filter is a triangle.
function tapsOf(old, wanted) {
  const scale = old / wanted, reach = Math.max(scale, 1), taps = 2 * Math.ceil(reach) + 1;
  const first = new Int32Array(wanted), exact = new Float64Array(wanted * taps);
  let largest = 0;
  for (let at = 0; at < wanted; at++) {
    const center = scale * (at + 0.5);
    first[at] = Math.max(0, Math.trunc(center - reach + 0.5));
    const end = Math.min(old, Math.trunc(center + reach + 0.5));
    let sum = 0;
    for (let tap = 0; tap < taps; tap++) {
      const pixel = first[at] + tap;
      const weight = pixel < end ? Math.max(0, 1 - Math.abs(pixel + 0.5 - center) / reach) : 0;
      exact[at * taps + tap] = weight;
      sum += weight;
    }
    for (let tap = 0; tap < taps; tap++) largest = Math.max(largest, (exact[at * taps + tap] /= sum));
  }
  let bits = 0;
  while (bits < LARGEST_BITS && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < LARGEST_WEIGHT) bits++;
  return { first, weights: Int32Array.from(exact, (weight) => Math.trunc(weight * 2 ** bits + 0.5)), taps, bits };
}

// Return a mask [height * width] of 0 and 1: a map [h * w] resized, bilinear, above a threshold.
export function maskAt({ map, h, w }, width, height, threshold) {
  const down = neighbours(h, height), across = neighbours(w, width);
  const mask = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const upper = down.first[y] * w, lower = down.second[y] * w, part = down.part[y];
    for (let x = 0; x < width; x++) {
      const left = across.first[x], right = across.second[x], share = across.part[x];
      const above = map[upper + left] * (1 - share) + map[upper + right] * share;
      const below = map[lower + left] * (1 - share) + map[lower + right] * share;
      if (above * (1 - part) + below * part > threshold) mask[y * width + x] = 1;
    }
  }
  return mask;
}

function neighbours(old, wanted) {
  const first = new Int32Array(wanted), second = new Int32Array(wanted), part = new Float32Array(wanted);
  for (let at = 0; at < wanted; at++) {
    const place = Math.min(old - 1, Math.max(0, (at + 0.5) * (old / wanted) - 0.5));
    first[at] = Math.trunc(place);
    second[at] = Math.min(first[at] + 1, old - 1);
    part[at] = place - first[at];
  }
  return { first, second, part };
}

// Return the indices of masks that repeat no better one: those of which at most `share` lies inside it. Best come first.
export function withoutRepeats(masks, share) {
  const areas = masks.map((mask) => mask.reduce((sum, one) => sum + one, 0));
  const kept = [];
  masks.forEach((mask, index) => {
    const repeats = kept.some((better) => {
      let shared = 0;
      for (let pixel = 0; pixel < mask.length; pixel++) shared += mask[pixel] & masks[better][pixel];
      return shared > share * Math.max(areas[index], 1);
    });
    if (!repeats) kept.push(index);
  });
  return kept;
}

// Return COCO's compressed run lengths of a mask [height * width]; runs go down the columns.
export function runLengths(mask, width, height) {
  const runs = [];
  let value = 0, run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const one = mask[y * width + x];
      if (one !== value) { runs.push(run); [value, run] = [one, 0]; }
      run++;
    }
  }
  runs.push(run);
  let text = "";
  runs.forEach((length, index) => {
    let rest = index > 2 ? length - runs[index - 2] : length;
    for (;;) {
      let bits = rest & 31;
      rest >>= 5;
      const more = bits & 16 ? rest !== -1 : rest !== 0;
      if (more) bits |= 32;
      text += String.fromCharCode(bits + 48);
      if (!more) break;
    }
  });
  return text;
}
