// CLIP's byte-level BPE, as litetext/tokenizer.py has it: the same ids for the same phrase.

const BYTE_SYMBOLS = 512; // the 256 bytes inside a word, and the same at a word's end
const MERGED = 48_894;
const START = BYTE_SYMBOLS + MERGED, END = START + 1;
const SPECIAL = { "<start_of_text>": START, "<end_of_text>": END };
const WORDS = /<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/giu;
const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u; // what Python splits at
const CONTROLS = /[\0-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/gu;
const WIDE = /[\u3000\uff01-\uffef]/gu;
const LIGATURES = /[\ufb00-\ufb06]/gu;

// Return a phrase as SAM3's tokenizer reads it. What ftfy mends in Python is mended here where phrases need it: text that
// was decoded as Windows-1252, curled quotes, ligatures, full-width letters, control characters, HTML's entities.
export function clean(text) {
  let cleaned = text;
  if (!cleaned.includes("<")) cleaned = unescaped(cleaned);
  cleaned = decodedAgain(cleaned)
    .replace(LIGATURES, (letter) => letter.normalize("NFKC"))
    .replace(WIDE, (letter) => letter.normalize("NFKC"))
    .replace(/[\u02bc\u2018-\u201b]/gu, "'").replace(/[\u201c-\u201f]/gu, '"')
    .replace(/\r\n?|[\u2028\u2029\x85]/gu, "\n")
    .replace(CONTROLS, "")
    .normalize("NFC");
  return unescaped(unescaped(cleaned)).split(SPACES).filter(Boolean).join(" ").toLowerCase();
}

function unescaped(text) {
  if (!text.includes("&")) return text;
  const area = document.createElement("textarea"); // reads entities, nothing else
  area.innerHTML = `|${text.replaceAll("<", "&lt;")}`;
  return area.value.slice(1);
}

// "cafÃ©" is "café" in UTF-8, read as Windows-1252.
function decodedAgain(text) {
  if (/^[\0-\x7f]*$/u.test(text)) return text;
  const bytes = [];
  for (const letter of text) {
    const byte = WINDOWS_1252.get(letter);
    if (byte === undefined) return text;
    bytes.push(byte);
  }
  try { return new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(bytes)); } catch { return text; }
}

const WINDOWS_1252 = new Map(Array.from({ length: 256 }, (_, byte) => [new TextDecoder("windows-1252").decode(new Uint8Array([byte])), byte]));

export class Tokenizer {
  // merges: Uint16Array of pairs of ids, in the order of merging; vocabulary: CLIP's ids that have a row, or null for all.
  constructor(merges, vocabulary = null) {
    this.merges = merges;
    this.ranks = new Map();
    for (let rank = 0; rank < merges.length / 2; rank++) this.ranks.set(merges[2 * rank] * 65_536 + merges[2 * rank + 1], rank);
    this.rows = vocabulary && new Map(vocabulary.map((id, row) => [id, row]));
    this.symbols = symbolsOfBytes();
  }

  // Return a phrase's ids, start and end included; one too long for the context is cut, its last id the end.
  encode(phrase, contextLength) {
    const ids = [START];
    for (const [word] of clean(phrase).matchAll(WORDS)) ids.push(...this.#word(word));
    ids.push(END);
    const rows = this.rows ? ids.flatMap((id) => this.#pieces(id)) : ids;
    if (rows.length <= contextLength) return rows;
    return [...rows.slice(0, contextLength - 1), rows.at(-1)];
  }

  #word(word) {
    if (word in SPECIAL) return [SPECIAL[word]];
    const ids = Array.from(new TextEncoder().encode(word), (byte) => this.symbols[byte]);
    ids[ids.length - 1] += BYTE_SYMBOLS / 2;
    for (;;) {
      let first = Infinity, at = -1;
      for (let place = 0; place + 1 < ids.length; place++) {
        const rank = this.ranks.get(ids[place] * 65_536 + ids[place + 1]);
        if (rank < first) [first, at] = [rank, place];
      }
      if (at < 0) return ids;
      ids.splice(at, 2, BYTE_SYMBOLS + first);
    }
  }

  // A token without a row is split into those that it was merged from.
  #pieces(id) {
    if (this.rows.has(id)) return [this.rows.get(id)];
    const rank = id - BYTE_SYMBOLS;
    return [...this.#pieces(this.merges[2 * rank]), ...this.#pieces(this.merges[2 * rank + 1])];
  }
}

// The id of every byte inside a word: CLIP counts the printable ones first.
function symbolsOfBytes() {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const order = [...bytes.filter(printable), ...bytes.filter((byte) => !printable(byte))];
  const ids = [];
  order.forEach((byte, id) => { ids[byte] = id; });
  return ids;
}
