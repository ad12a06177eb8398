// CLIP's byte-level BPE, as litetext/tokenizer.py has it: the same ids for the same phrase.

const BYTE_SYMBOLS = 512; // the 256 bytes inside a word, and the same at a word's end
const MERGED = 48_894;
const START = BYTE_SYMBOLS + MERGED, END = START + 1;
const SPECIAL = { "<start_of_text>": START, "<end_of_text>": END };
// Python's pattern ignores case: a long s is an s, and U+0345, a mark whose capital is a letter, counts as a letter.
const WORDS = /<start_of_text>|<end_of_text>|'[s\u017f]|'t|'re|'ve|'m|'ll|'d|[\p{L}\u0345]+|\p{N}|[^\s\p{L}\p{N}\u0345]+/gu;

export class Tokenizer {
  // cleaner: of cleaning.js; merges: Uint16Array of pairs of ids, in the order of merging; vocabulary: CLIP's ids that have a
  // row, or null for all.
  constructor(cleaner, merges, vocabulary = null) {
    this.cleaner = cleaner;
    this.merges = merges;
    this.ranks = new Map();
    for (let rank = 0; rank < merges.length / 2; rank++) this.ranks.set(merges[2 * rank] * 65_536 + merges[2 * rank + 1], rank);
    this.rows = vocabulary && new Map(vocabulary.map((id, row) => [id, row]));
    this.symbols = symbolsOfBytes();
  }

  // Return a phrase's ids, start and end included; one too long for the context is cut, its last id the end.
  encode(phrase, contextLength) {
    const ids = [START];
    for (const [word] of this.cleaner.clean(phrase).matchAll(WORDS)) ids.push(...this.#word(word));
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
