// The article with what is known of it: entities, the sentences that were read, the word that is heard.
// Everything is put in as Text nodes; no text is ever read as markup.

/** Offsets of the API count code points, JavaScript's strings UTF-16 units: a function from the one to the other. */
export function codePoints(text) {
  if (!/[\ud800-\udfff]/.test(text)) return offset => offset;
  const units = [];
  let at = 0;
  for (const point of text) { units.push(at); at += point.length; }
  units.push(at);
  return offset => units[Math.min(offset, units.length - 1)];
}

export function countCodePoints(text) {
  let number = text.length;
  for (let at = 0; at + 1 < text.length; at++) {
    if ((text.charCodeAt(at) & 0xfc00) === 0xd800 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00) { number--; at++; }
  }
  return number;
}

const linear = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;

/** Relative luminance of #rrggbb (WCAG 2). */
function luminance(colour) {
  const [red, green, blue] = [1, 3, 5].map(at => linear(parseInt(colour.slice(at, at + 2), 16)));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** Black or white, whichever is easier to read on the colour: one of them always has a contrast of 4.5. */
export const inkOn = colour => (luminance(colour) + 0.05) ** 2 > 0.0525 ? "#000000" : "#ffffff";

/** Spans as UTF-16 units, in order, without those that overlap one before them or are out of the text. */
function placed(spans, text, units) {
  const found = [];
  let last = 0;
  for (const span of spans.map(span => ({ ...span, start: units(span.start), end: units(span.end) })).sort((a, b) => a.start - b.start)) {
    if (span.start >= last && span.end > span.start && span.end <= text.length) { found.push(span); last = span.end; }
  }
  return found;
}

export class ArticleView {
  constructor(element) {
    this.element = element;
    this.nodes = [];
    this.text = "";
    this.spot = null;
  }

  /** `entities` have start, end, label; `colours` are by label; `read` are spans, null where all was read. */
  render(text, entities = [], colours = new Map(), read = null) {
    const units = codePoints(text);
    const sentences = read && placed(read.map(([start, end]) => ({ start, end })), text, units);
    this.unhear();
    this.text = text;
    this.nodes = [];
    const whole = document.createDocumentFragment();
    let at = 0;
    for (const entity of placed(entities, text, units)) {
      this.#add(whole, at, entity.start, sentences);
      const mark = document.createElement("mark"), tag = document.createElement("span");
      const colour = colours.get(entity.label) ?? "#d0d0d0";
      mark.className = "entity";
      mark.style.setProperty("--mark", colour);
      mark.style.setProperty("--ink", inkOn(colour));
      mark.title = `${entity.label}, score ${entity.score}`;
      this.#add(mark, entity.start, entity.end, sentences);
      tag.className = "tag";
      tag.textContent = entity.label;
      mark.append(tag);
      whole.append(mark);
      at = entity.end;
    }
    this.#add(whole, at, text.length, sentences);
    this.element.classList.toggle("condensed", sentences !== null);
    this.element.replaceChildren(whole);
  }

  /** The text from `start` to `end`, parted where sentences that were read begin and end. */
  #add(parent, start, end, sentences) {
    if (!sentences) { this.#text(parent, start, end); return; }
    let at = start;
    for (const sentence of sentences) {
      if (sentence.end <= at || sentence.start >= end) continue;
      if (sentence.start > at) this.#text(parent, at, sentence.start);
      const span = document.createElement("span"), last = Math.min(sentence.end, end);
      span.className = "read";
      this.#text(span, Math.max(at, sentence.start), last);
      parent.append(span);
      at = last;
    }
    this.#text(parent, at, end);
  }

  #text(parent, start, end) {
    if (end <= start) return;
    const node = document.createTextNode(this.text.slice(start, end));
    this.nodes.push([start, node]);
    parent.append(node);
  }

  #place(offset, isEnd) {
    let low = 0, high = this.nodes.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1, [start] = this.nodes[middle];
      if (start < offset || (start === offset && !isEnd)) low = middle; else high = middle - 1;
    }
    const [start, node] = this.nodes[low];
    return [node, Math.min(offset - start, node.length)];
  }

  /** Marks what is heard, from `start` to `end` in UTF-16 units, and keeps it in sight of this element. */
  hear(start, end) {
    if (!this.nodes.length) return;
    const range = document.createRange();
    range.setStart(...this.#place(start, false));
    range.setEnd(...this.#place(end, true));
    if (globalThis.Highlight && CSS.highlights) CSS.highlights.set("heard", new Highlight(range));
    else this.#box(range);
    const word = range.getBoundingClientRect(), frame = this.element.getBoundingClientRect();
    if (word.top < frame.top || word.bottom > frame.bottom) {
      this.element.scrollTop += word.top - frame.top - frame.height / 3;
    }
  }

  /** Where there are no highlights a box lies behind the word. */
  #box(range) {
    this.spot?.remove();
    const word = range.getBoundingClientRect(), frame = this.element.getBoundingClientRect();
    this.spot = document.createElement("span");
    this.spot.className = "spot";
    Object.assign(this.spot.style, {
      left: `${word.left - frame.left + this.element.scrollLeft}px`, width: `${word.width}px`,
      top: `${word.top - frame.top + this.element.scrollTop}px`, height: `${word.height}px`,
    });
    this.element.append(this.spot);
  }

  unhear() {
    globalThis.CSS?.highlights?.delete("heard");
    this.spot?.remove();
    this.spot = null;
  }
}

const LEFT_OUT = "script,style,noscript,template,nav,header nav,footer,aside,form,iframe,object,svg,canvas,button,select,textarea,head";
const BLOCKS = /^(ADDRESS|ARTICLE|BLOCKQUOTE|DD|DIV|DL|DT|FIGCAPTION|FIGURE|H[1-6]|HEADER|HR|LI|MAIN|OL|P|PRE|SECTION|TABLE|TD|TH|TR|UL)$/;

/** Reads HTML for its text alone: nothing of it is run, loaded or put into the page. */
const policy = globalThis.trustedTypes?.createPolicy("dropped-file", { createHTML: text => text });

export function textOfHtml(html) {
  const parsed = new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html");
  parsed.querySelectorAll(LEFT_OUT).forEach(element => element.remove());
  const articles = parsed.querySelectorAll("article");
  const root = (articles.length === 1 ? articles[0] : parsed.querySelector("main")) ?? parsed.body ?? parsed.documentElement;
  const parts = [];
  // A walker, as markup may be nested more deeply than functions may call each other.
  const walker = parsed.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  const open = [];
  for (let node = walker.currentNode; node; node = walker.nextNode()) {
    while (open.length && !open.at(-1).contains(node)) { open.pop(); parts.push("\n\n"); }
    if (node.nodeType === Node.TEXT_NODE) parts.push(node.data.replace(/\s+/g, " "));
    else if (node.nodeName === "BR") parts.push("\n");
    else if (BLOCKS.test(node.nodeName)) { parts.push("\n\n"); open.push(node); }
  }
  return parts.join("").replace(/ *\n */g, "\n").replace(/\n{3,}/g, "\n\n").replace(/ {2,}/g, " ").trim();
}

/** The text of a dropped file: in UTF-8, else in what a page says of itself, else as Windows writes. */
export async function textOfFile(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const decoded = decode(bytes);
  return (/html/.test(file.type) || /\.x?html?$/i.test(file.name) ? textOfHtml(decoded) : decoded).replace(/\r\n?/g, "\n");
}

function decode(bytes) {
  const mark = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : null;
  if (mark) return new TextDecoder(mark).decode(bytes);
  try { return new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch { /* it is in another encoding */ }
  const opening = new TextDecoder("windows-1252").decode(bytes.slice(0, 2048));
  const name = /charset=["']?([\w-]+)/i.exec(opening)?.[1] ?? "windows-1252";
  try { return new TextDecoder(name).decode(bytes); } catch { return new TextDecoder("windows-1252").decode(bytes); }
}
