// The article with what is known of it: entities, the sentences that were read, the word that is heard.
// Everything is put in as Text nodes; no text is ever read as markup.

/** Offsets of the API count code points, JavaScript's strings UTF-16 units: a function from the one to the other. */
function unitsOf(text) {
	if (!/[\ud800-\udfff]/.test(text)) return offset => offset;
	const units = [];
	let at = 0;
	for (const point of text) { units.push(at); at += point.length; }
	return offset => units[offset] ?? at;
}

export const countCodePoints = text => text.length - (text.match(/[\ud800-\udbff][\udc00-\udfff]/g)?.length ?? 0);

/** Black or white, whichever is easier to read on #rrggbb: the contrast is 4.5 at least (WCAG 2). */
export function inkOn(colour) {
	const [red, green, blue] = [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16) / 255).map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
	return (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) ** 2 > 0.0525 ? "#000" : "#fff";
}

export class ArticleView {
	constructor(element) {
		this.element = element;
		this.nodes = [];
	}

	/** `entities` have start, end, label and score; `colours` are by label; `read` are spans, null where all was read. */
	render(text, entities, colours, read) {
		const units = unitsOf(text), whole = document.createDocumentFragment();
		this.unhear();
		this.text = text;
		this.read = read?.map(([start, end]) => [units(start), units(end)]);
		this.nodes = [];
		let at = 0;
		for (const { start, end, label, score } of entities) {
			if (units(start) < at) continue;
			const mark = document.createElement("mark"), tag = document.createElement("small"), colour = colours.get(label) ?? "#d0d0d0";
			this.#add(whole, at, units(start));
			mark.title = `${label}, score ${score}`;
			mark.style.setProperty("--mark", colour);
			mark.style.setProperty("--on-mark", inkOn(colour));
			this.#add(mark, units(start), at = units(end));
			tag.textContent = label;
			mark.append(tag);
			whole.append(mark);
		}
		this.#add(whole, at, text.length);
		this.element.classList.toggle("condensed", Boolean(read));
		this.element.replaceChildren(whole);
	}

	/** The text from `at` to `end`, parted where sentences that were read begin and end. */
	#add(parent, at, end) {
		for (const [start, last] of this.read ?? []) {
			if (last <= at || start >= end) continue;
			const span = document.createElement("span");
			span.className = "read";
			this.#addText(parent, at, start);
			this.#addText(span, Math.max(at, start), Math.min(last, end));
			parent.append(span);
			at = Math.min(last, end);
		}
		this.#addText(parent, at, end);
	}

	#addText(parent, start, end) {
		if (end <= start) return;
		const node = document.createTextNode(this.text.slice(start, end));
		this.nodes.push([start, node]);
		parent.append(node);
	}

	/** The node with the character before `offset`, and where in it `offset` is. */
	#place(offset) {
		let low = 0;
		for (let high = this.nodes.length; high - low > 1;) {
			const middle = (low + high) >> 1;
			if (this.nodes[middle][0] < offset) low = middle; else high = middle;
		}
		return [this.nodes[low][1], offset - this.nodes[low][0]];
	}

	/** Marks what is heard, from `start` to `end` in UTF-16 units, and keeps it in sight. An old browser selects it. */
	hear(start, end) {
		const range = document.createRange(), { element } = this;
		range.setStart(...this.#place(start));
		range.setEnd(...this.#place(end));
		const word = range.getBoundingClientRect(), frame = element.getBoundingClientRect();
		if (globalThis.Highlight) CSS.highlights.set("heard", new Highlight(range)); else getSelection().setBaseAndExtent(...this.#place(start), ...this.#place(end));
		if (word.top < frame.top || word.bottom > frame.bottom) element.scrollTop += word.top - frame.top - frame.height / 3;
	}

	unhear() {
		if (globalThis.Highlight) CSS.highlights.delete("heard"); else getSelection().removeAllRanges();
	}
}

const LEFT_OUT = "head, script, style, noscript, template, nav, footer, aside, form, iframe, object, svg, button, select, textarea";
const BLOCK = /^(ARTICLE|BLOCKQUOTE|D[DLT]|DIV|FIGCAPTION|FIGURE|H[1-6]|HEADER|LI|MAIN|OL|P|PRE|SECTION|TABLE|TR|UL)$/;
// HTML is read for its text alone: nothing of it is run, loaded or put into the page.
const policy = globalThis.trustedTypes?.createPolicy("dropped-file", { createHTML: text => text });

function textOfHtml(html) {
	const { body } = new DOMParser().parseFromString(policy?.createHTML(html) ?? html, "text/html"), parts = [], open = [];
	for (const element of body.querySelectorAll(LEFT_OUT)) element.remove();
	const articles = body.querySelectorAll("article");
	const walker = document.createTreeWalker(articles.length === 1 ? articles[0] : body.querySelector("main") ?? body);
	for (let node = walker.root; node; node = walker.nextNode()) {
		while (open.length && !open.at(-1).contains(node)) { open.pop(); parts.push("\n\n"); }
		if (node.nodeType === Node.TEXT_NODE) parts.push(node.data.replace(/\s+/g, " "));
		else if (node.nodeName === "BR") parts.push("\n");
		else if (BLOCK.test(node.nodeName)) { parts.push("\n\n"); open.push(node); }
	}
	return parts.join("").replace(/ *\n */g, "\n").replace(/\n{3,}/g, "\n\n").replace(/ {2,}/g, " ").trim();
}

/** The text of a file: in UTF-8, else in what the page says of itself, else as Windows writes. */
export async function textOfFile(file) {
	const bytes = await file.arrayBuffer();
	let text;
	try { text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); } catch {
		text = new TextDecoder("windows-1252").decode(bytes);
		try { text = new TextDecoder(/charset=["']?([\w-]+)/i.exec(text)[1]).decode(bytes); } catch { /* it says nothing that is known */ }
	}
	return (/html?$/i.test(file.name) ? textOfHtml(text) : text).replace(/\r\n?/g, "\n");
}
