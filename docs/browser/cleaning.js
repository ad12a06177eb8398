// Text as SAM3's own tokenizer reads it, and as litetext.tokenizer.clean gives it in Python: ftfy, HTML unescaped twice,
// one space between words, lower case. The tables (`models/text.json`) are those of Python's packages html and ftfy, which the
// build writes down; the steps are theirs too, in their order. Left out of ftfy: CESU-8, UTF-8's variant of old Java.

const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/gu;
const REFERENCE = /&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)/gu;
const ENTITY = /&#?[0-9A-Za-z]{1,24};/gu;
const TERMINAL_ESCAPE = /\x1b\[((?:\p{Nd}|;)*)([a-zA-Z])/gu;
const WORD_A_GRAVE = /\xc3 (?! |quele|quela|quilo|s )/g;
const REPLACEMENT_BYTES = "\xef\xbf\xbd";

/** Repairs and cleans phrases.
 * @param {object} tables - what the build wrote to `models/text.json`.
 */
export class Cleaner {
  constructor(tables) {
    this.references = new Map(Object.entries(tables.references));
    this.entities = new Map(Object.entries(tables.entities));
    this.invalidNumbers = new Map(Object.entries(tables.invalid_numbers).map(([number, text]) => [Number(number), text]));
    this.noCharacters = new Set(tables.no_characters);
    this.characters = new Map(Object.entries(tables.characters));
    this.bad = new RegExp(tables.bad, "u");
    this.embedded = new RegExp(tables.embedded, "gu");
    this.altered = new RegExp(tables.altered, "g");
    this.lossy = new RegExp(tables.lossy, "g");
    this.encodings = Object.entries(tables.encodings).map(([name, characters]) => new Encoding(name, characters));
  }

  /** Returns `text` as the tokenizer reads it. */
  clean(text) {
    const repaired = this.unescape(this.unescape(this.repair(text)));
    return repaired.split(SPACES).filter(Boolean).join(" ").toLowerCase();
  }

  /** Returns `text` with HTML's character references replaced, as Python's html.unescape does. */
  unescape(text) {
    return text.replace(REFERENCE, (whole, name) => (name[0] === "#" ? this.numbered(name) : this.named(name)));
  }

  numbered(name) {
    const digits = name.replace(/;$/, "").slice(1);
    const number = /^x/i.test(digits) ? parseInt(digits.slice(1), 16) : parseInt(digits, 10);
    if (this.invalidNumbers.has(number)) return this.invalidNumbers.get(number);
    if ((number >= 0xd800 && number <= 0xdfff) || number > 0x10ffff) return "\ufffd";
    return this.noCharacters.has(number) ? "" : String.fromCodePoint(number);
  }

  named(name) {
    for (let end = name.length; end > 1; end--) {
      const found = this.references.get(name.slice(0, end));
      if (found !== undefined) return found + name.slice(end);
    }
    return `&${name}`;
  }

  /** Returns `text` as ftfy.fix_text repairs it, line by line. */
  repair(text) {
    let unescapes = true;
    return text.split(/(?<=\n)/u).map((line) => {
      unescapes = unescapes && !line.includes("<");
      return this.repairedLine(line, unescapes);
    }).join("");
  }

  repairedLine(line, unescapes) {
    for (let before = null; before !== line; ) {
      before = line;
      if (unescapes) line = this.unescapeEntities(line);
      line = this.plainCharacters(this.repairEncoding(line)).normalize("NFC");
    }
    return line;
  }

  unescapeEntities(text) {
    return text.replace(ENTITY, (whole) => {
      if (this.entities.has(whole)) return this.entities.get(whole);
      const unescaped = whole.startsWith("&#") ? this.unescape(whole) : whole;
      return unescaped.includes(";") ? whole : unescaped;
    });
  }

  plainCharacters(text) {
    const translated = [...this.withoutControls(text)].map((one) => this.characters.get(one) ?? one).join("");
    const straight = translated.replace(/[\u201c-\u201f]/g, '"').replace(/[\u02bc\u2018-\u201b]/g, "'");
    const lines = straight.replace(/\r\n?|[\u2028\u2029\x85]/g, "\n").replace(/\p{Surrogate}/gu, "\ufffd");
    const visible = lines.replace(TERMINAL_ESCAPE, "");
    return visible.replace(/[\0-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/g, "");
  }

  withoutControls(text) {
    const windows = this.encoding("sloppy-windows-1252");
    return text.replace(/[\x80-\x9f]/g, (one) => windows.decode(one));
  }

  encoding(name) {
    return this.encodings.find((one) => one.name === name);
  }

  /** Returns `text` with UTF-8 that was read in another encoding read again, as ftfy.fix_encoding does. */
  repairEncoding(text) {
    for (let before = null; before !== text; ) {
      before = text;
      text = this.repairEncodingOnce(text);
    }
    return text;
  }

  repairEncodingOnce(text) {
    if (!this.bad.test(text)) return text;
    for (const encoding of this.encodings.filter((one) => one.holds(text))) {
      const decoded = utf8(this.restored(encoding.encode(text), encoding.name));
      if (decoded !== null) return decoded;
    }
    const repaired = this.repairParts(text);
    return repaired !== text ? repaired : this.withoutControls(text);
  }

  restored(bytes, encoding) {
    if (encoding !== "macroman" && bytes.search(this.altered) >= 0) {
      bytes = bytes.replace(WORD_A_GRAVE, "\xc3\xa0 ").replace(this.altered, (one) => one.replaceAll(" ", "\xa0"));
    }
    return encoding.startsWith("sloppy") ? bytes.replace(this.lossy, REPLACEMENT_BYTES) : bytes;
  }

  repairParts(text) {
    return text.replace(this.embedded, (part) => (part.length < text.length && this.bad.test(part) ? this.repairEncoding(part) : part));
  }
}

/** An encoding of one byte a character; bytes are held as strings of the characters 0 to 255. */
class Encoding {
  constructor(name, characters) {
    this.name = name;
    this.characters = characters;
    this.bytes = new Map([...characters].map((character, byte) => [character, String.fromCharCode(byte)]));
  }

  holds(text) {
    return [...text].every((character) => this.bytes.has(character));
  }

  encode(text) {
    return [...text].map((character) => this.bytes.get(character)).join("");
  }

  decode(bytes) {
    return [...bytes].map((byte) => this.characters[byte.charCodeAt(0)]).join("");
  }
}

/** The text that UTF-8 bytes spell, or null where they spell none. */
function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
  } catch {
    return null;
  }
}
