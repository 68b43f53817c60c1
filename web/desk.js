// The desk: one article, three things that happen to it, and how the house is.

import { base, call, curl, events, hasKey, httpx, kept, onKey, Problem, setKey, toClipboard, told } from "./calls.js";
import { ArticleView, countCodePoints, inkOn, textOfFile } from "./article.js";
import { language, play, save, whoSpeaks, wordAt, words } from "./listen.js";

const $ = id => document.getElementById(id);
// Its number changes with the form of what is kept.
const DESK = "factory-desk-1", DEFAULT_VOICE = "en-US-ChristopherNeural", BY_WORD = "text/vtt; timestamps=words";
const LONGEST_KEPT = 1_500_000, LONGEST_SPOKEN = 20_000, LARGEST_FILE_MB = 8, MOST_ROWS = 500;
// Entities are asked for once, with this threshold. The service decides on the best-scoring span first, so what it finds with
// a higher threshold are those of them that score over it: the slider needs no call.
const LOWEST_THRESHOLD = 0.1;
// After Okabe and Ito, lightened: told apart with every kind of colour vision, and black letters are read on each.
const PALETTE = ["#8fcbf0", "#f3c05c", "#74cfae", "#e8a9cc", "#f5e97a", "#f2a678", "#9db8e8", "#c9c9c9"];

const desk = { text: "", labels: ["Person", "Organization", "Location"].map((name, at) => ({ name, colour: PALETTE[at] })), marked: false, summary: null, entities: null };
const view = new ArticleView($("view"));
let recording = null, health = null, voices = [], voice = DEFAULT_VOICE;

const number = value => value.toLocaleString("en");
const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
const percent = part => `${Math.round(100 * part)} %`;
const capital = text => text && text[0].toUpperCase() + text.slice(1);
const isOfNow = result => result?.text === desk.text;
const tell = (element, sentence) => { element.textContent = sentence; element.hidden = !sentence; };
const show = (list, facts) => list.replaceChildren(...facts.filter(Boolean).map(fact => make("li", { dir: "auto", textContent: fact })));

/** Properties whose names have a hyphen are attributes. */
function make(tag, properties = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(properties)) if (name.includes("-")) element.setAttribute(name, value); else element[name] = value;
	element.append(...children);
	return element;
}

/** For those who hear the page: few sentences, one at a time. */
function say(sentence) {
	$("said").textContent = "";
	requestAnimationFrame(() => { $("said").textContent = sentence; });
}

async function copy(text, button) {
	const done = await toClipboard(text), name = button.dataset.name ??= button.textContent;
	button.textContent = done ? "Copied" : "Not copied";
	say(done ? "Copied." : "The browser does not let the page copy.");
	setTimeout(() => { button.textContent = name; }, 1500);
}

// One card for each thing that happens to the article.

class Card {
	constructor(id, name, work) {
		this.name = name;
		this.work = work;
		this.element = $(id);
		for (const part of ["run", "stop", "doing", "what", "problem", "result", "code"]) this[part] = this.element.querySelector(`.${part}`);
		this.progress = this.element.querySelector("progress");
		this.run.onclick = () => this.start();
		this.stop.onclick = () => this.controller?.abort();
		this.code.ontoggle = () => this.made(...this.calls);
		this.calls = [];
	}

	start() {
		if (!this.controller) this.running = this.#start(this.controller = new AbortController());
	}

	async again() {
		this.controller?.abort();
		await this.running;
		this.start();
	}

	async #start({ signal }) {
		this.#busy(true);
		tell(this.problem, "");
		this.tell("Asking the service");
		try {
			if (!desk.text.trim()) throw new Problem("There is no article. Write one, paste one, drop a file or choose a sample.");
			await this.work(this, signal);
			this.tell("");
		} catch (error) {
			this.tell(signal.aborted ? "Stopped." : "");
			if (signal.aborted) say(`${this.name} stopped.`); else this.fail(error);
			this.controller.abort();
		}
		this.controller = null;
		this.#busy(false);
		remember();
	}

	fail(error) {
		const sentence = error instanceof Problem ? error.message : `The page itself failed: ${error.message}. Reload it and try again.`;
		tell(this.problem, sentence);
		say(`${this.name}: ${sentence}`);
	}

	#busy(is) {
		this.element.setAttribute("aria-busy", is);
		this.run.setAttribute("aria-disabled", is);
		if (!is && document.activeElement === this.stop) this.run.focus();
		this.stop.hidden = !is;
	}

	tell(sentence, part) {
		tell(this.what, sentence);
		this.doing.hidden = !sentence;
		if (!this.progress) return;
		this.progress.hidden = part === undefined;
		this.progress.value = part ?? 0;
	}

	/** What `call` tells while it waits. */
	onWait = (sentence, isNew) => {
		this.tell(sentence || "Asking the service");
		if (isNew) say(`${this.name}: ${sentence}`);
	};

	/** The calls that were made: [path, body, accept, file] each. They are written when they are looked at. */
	made(...calls) {
		this.calls = calls;
		if (!this.code.open) return;
		const shown = calls.flatMap(([path, body, accept, file]) => [["curl", curl], ["httpx", httpx]].flatMap(([name, write]) => {
			const title = file ? `${name}, ${file}` : name, text = write(path, body, accept, file);
			const button = make("button", { textContent: "Copy", "aria-label": `Copy ${title}`, onclick: () => copy(text, button) });
			return [make("div", { className: "bar" }, make("h3", { textContent: title }), button), make("pre", { tabIndex: 0, role: "group", "aria-label": title, textContent: text })];
		}));
		this.code.replaceChildren(this.code.firstElementChild, ...shown.length ? shown : [make("p", { className: "small", textContent: "Nothing was called yet." })]);
	}
}

// Summary

function statusOf({ state, place, seconds, tokens, read, model = "The model" }) {
	const rest = seconds == null ? "" : seconds < 1 ? ", less than 1 s" : `, about ${Math.round(seconds)} s`;
	return {
		waiting: `${place ? `Place ${place}` : "Waiting"}${rest}`,
		reading: `${model} reads ${read ? `${number(read)} of ` : ""}${counted(tokens ?? 0, "token")}${rest}`,
		thinking: `${model} thinks`,
		writing: `${model} writes`,
	}[state];
}

/** An empty field is left out; what is out of bounds the service explains. */
const amount = id => $(id).value === "" ? undefined : Number($(id).value);

async function summarize(card, signal) {
	const { text } = desk;
	const body = { text, max_tokens: amount("max-tokens"), temperature: amount("temperature"), seed: amount("seed"), stream: true, progress: true };
	card.made(["summarize", body]);
	const response = await call("summarize", { body, signal, onWait: card.onWait });
	desk.summary = null;
	showSummary();
	const written = document.createTextNode("");
	$("summary").replaceChildren(written);
	let done = null, state = null;
	for await (const { name, data } of events(response, signal)) {
		const sentence = name === "status" ? statusOf(data) : null;
		if (sentence) {
			card.tell(sentence, data.state === "reading" && data.tokens ? (data.read ?? 0) / data.tokens : undefined);
			if (data.state !== state) say(`Summary: ${sentence}.`);
			({ state } = data);
		} else if (name === "token") {
			if (!written.length) card.tell("Writing");
			written.appendData(data.text);
			card.result.hidden = false;
		} else if (name === "done") done = data;
		else if (name === "error") throw told(data, data.status);
	}
	if (!done) throw new Problem("The answer broke off before its end. Run it again.");
	desk.summary = { ...done, text };
	showSummary();
	showArticle();
	say(`Summary ready: ${counted(done.usage?.completion_tokens ?? 0, "token")}.`);
}

function licence(model) {
	if (/^Llama-3/.test(model)) return model[7] === "." ? "Built with Llama" : "Built with Meta Llama 3";
	return /^SmolLM2/.test(model) ? "SmolLM2, Apache-2.0" : "";
}

function showSummary() {
	const answer = desk.summary, { usage = {}, model = "" } = answer ?? {};
	cards.summarize.result.hidden = !answer;
	$("summary").textContent = answer?.summary ?? "";
	$("licence").textContent = licence(model);
	show($("summary-facts"), answer ? [
		model, `${counted(usage.completion_tokens ?? 0, "token")} in ${(answer.inference_time_ms / 1000).toFixed(1)} s`,
		answer.input_tokens && `article of ${counted(answer.input_tokens, "token")}${answer.condensed ? ", condensed" : ""}`,
		{ length: "ended at the most tokens", deadline: "ended by the deadline" }[answer.finish_reason], usage.cached_answer && "made before",
	] : []);
	tell($("summary-note"), answer ? [answer.unsupported?.length && `Not in the article: ${answer.unsupported.join(", ")}.`, !isOfNow(answer) && "The article has changed since."].filter(Boolean).join(" ") : "");
}

// Entities

const threshold = () => Number($("threshold").value);
const found = () => desk.entities?.entities.filter(entity => entity.score > threshold()) ?? [];

async function extract(card, signal) {
	const { text } = desk, labels = desk.labels.map(label => label.name);
	if (!labels.length) throw new Problem("There is no label to look for. Add one and run it again.");
	for (const lowest of [LOWEST_THRESHOLD, threshold()]) {
		const body = { text, labels, threshold: lowest };
		card.made(["extract", body]);
		try {
			const response = await call("extract", { body, signal, onWait: card.onWait });
			desk.entities = { ...await response.json(), lowest, text };
			break;
		} catch (error) {
			// More than an answer may hold: then only what the slider shows.
			if (error.status !== 413 || threshold() <= lowest) throw error;
		}
	}
	desk.marked = true;
	showEntities();
	say(`${counted(found().length, "entity", "entities")} found.`);
}

function showEntities() {
	const answer = desk.entities, shown = found(), rows = shown.slice(0, MOST_ROWS);
	$("threshold-value").textContent = threshold().toFixed(2);
	$("labels").replaceChildren(...desk.labels.map((label, at) => labelRow(label, at, answer ? shown.filter(entity => entity.label === label.name).length : "")));
	cards.extract.result.hidden = !answer;
	show($("extract-facts"), answer ? [
		counted(shown.length, "entity", "entities"), answer.model, `${counted(answer.words, "word")} in ${number(answer.inference_time_ms)} ms`, answer.cached_answer && "made before",
		answer.lowest > threshold() && `only those over ${answer.lowest} were asked for: run it again for more`, !isOfNow(answer) && "the article has changed since",
		shown.length > rows.length && `the table has the first ${number(rows.length)}; copies have all`,
	] : []);
	$("rows").replaceChildren(...rows.map(({ text, label, score, start }) => make("tr", {}, ...[text, label, score.toFixed(2), number(start)].map(value => make("td", { dir: "auto", textContent: value })))));
	showArticle();
}

function labelRow(label, at, count) {
	const { name } = label, chip = make("span", { className: "chip", dir: "auto", textContent: name });
	const paint = () => { chip.style.setProperty("--mark", label.colour); chip.style.setProperty("--on-mark", inkOn(label.colour)); };
	const colour = make("input", { type: "color", value: label.colour, "aria-label": `Colour of ${name}`, oninput: () => { label.colour = colour.value; paint(); showArticle(); remember(); } });
	paint();
	const remove = make("button", { textContent: "×", "aria-label": `Remove ${name}`, onclick: () => { desk.labels.splice(at, 1); labelsChanged(); } });
	return make("li", {}, colour, chip, make("span", { className: "small", textContent: count }), remove);
}

function labelsChanged() {
	// Which labels there are decides on what each span is: only another answer is right.
	const again = isOfNow(desk.entities) && desk.labels.length > 0;
	desk.entities = null;
	showEntities();
	$("label").focus();
	remember();
	if (again) cards.extract.again();
}

function addLabel() {
	const name = $("label").value.trim();
	const refused = !name ? "Write a label first." : desk.labels.some(label => label.name === name) ? `${name} is there already.` : "";
	if (refused) { cards.extract.fail(new Problem(refused)); $("label").focus(); return; }
	tell(cards.extract.problem, "");
	desk.labels.push({ name, colour: PALETTE.find(colour => desk.labels.every(label => label.colour !== colour)) ?? PALETTE[desk.labels.length % PALETTE.length] });
	$("label").value = "";
	labelsChanged();
}

// In quotes (RFC 4180). What a spreadsheet would take for a formula is kept from it by an apostrophe.
const cell = value => `"${value.replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
const csv = () => ["text,label,score,start,end", ...found().map(({ text, label, score, start, end }) => [cell(text), cell(label), score, start, end].join()), ""].join("\r\n");

// Listen

const signed = (value, unit) => `${value < 0 ? "-" : "+"}${Math.abs(value)}${unit}`;

async function listen(card, signal) {
	const { text } = desk, length = countCodePoints(text), player = $("player");
	if (length > LONGEST_SPOKEN) throw new Problem(`At most ${number(LONGEST_SPOKEN)} characters are read aloud; the article has ${number(length)}. Shorten it, or put a part of it on the desk.`);
	const body = { text, voice, rate: signed($("rate").value, "%"), pitch: signed($("pitch").value, "Hz") };
	card.made(["audio", body, undefined, "article.mp3"], ["audio", body, BY_WORD, "article.vtt"]);
	player.pause();
	signal.addEventListener("abort", () => player.pause());
	card.tell("Making the first sound");
	const response = await call("audio", { body, signal, onWait: card.onWait });
	const made = recording = { text, body, words: [], mp3: null }, who = ["engine", "voice"].map(name => response.headers.get(`x-audio-${name}`) ?? "");
	card.result.hidden = false;
	$("save-mp3").disabled = true;
	pollHealth().then(() => { $("engine").textContent = whoSpeaks(...who, health?.upstreams?.["speech cloud"]); });
	// The same fields are the same recording, so it is made once. What goes wrong with it the sound itself tells.
	const captions = call("audio", { body, accept: BY_WORD, signal, onWait: () => {} }).then(async answer => { made.words = words(await answer.text(), text); }).catch(() => {});
	card.tell("Heard while it is made");
	made.mp3 = await play(response, player, signal, () => { desk.marked = true; showArticle(); say("Reading aloud."); });
	$("save-mp3").disabled = false;
	await captions;
	follow();
}

/** Marks the word that is heard, for as long as the player plays. */
function follow() {
	const player = $("player"), word = isOfNow(recording) && desk.marked ? wordAt(recording.words, player.currentTime) : null;
	cancelAnimationFrame(following);
	if (!word) view.unhear(); else if (word !== heard) view.hear(word.start, word.end);
	heard = word;
	if (!player.paused) following = requestAnimationFrame(follow);
}
let following = 0, heard = null;

async function saveCaptions(accept, name) {
	tell(cards.audio.problem, "");
	try {
		save(await (await call("audio", { body: recording.body, accept, onWait: cards.audio.onWait })).blob(), name);
	} catch (error) { cards.audio.fail(error); }
}

async function loadVoices() {
	try { ({ voices } = await (await call("audio/voices", { ask: false })).json()); } catch { /* later, or once there is a key */ }
	showVoices();
}

function showVoices() {
	const wanted = $("search").value.trim().toLowerCase(), groups = new Map();
	const listed = voices.some(({ name }) => name === voice) ? voices : [...voices, { name: voice, locale: voice.split("-", 2).join("-"), gender: "" }];
	for (const { name, locale, gender } of listed) {
		const spoken = language(locale);
		if (name !== voice && !`${spoken} ${name} ${gender}`.toLowerCase().includes(wanted)) continue;
		if (!groups.has(spoken)) groups.set(spoken, []);
		groups.get(spoken).push(new Option([name.replace(`${locale}-`, "").replace("Neural", ""), locale, gender.toLowerCase()].filter(Boolean).join(", "), name, false, name === voice));
	}
	$("voice").replaceChildren(...[...groups].sort(([a], [b]) => a.localeCompare(b)).map(([label, options]) => make("optgroup", { label }, ...options)));
}

// The article

function showArticle() {
	const length = countCodePoints(desk.text), isEmpty = !desk.text.trim(), hadFocus = document.activeElement === $("text");
	desk.marked &&= !isEmpty;
	$("text").hidden = desk.marked;
	$("view").hidden = !desk.marked;
	if (hadFocus && desk.marked) $("view").focus();
	$("write").setAttribute("aria-pressed", !desk.marked);
	$("marked").setAttribute("aria-pressed", desk.marked);
	$("marked").setAttribute("aria-disabled", isEmpty);
	const read = desk.marked && isOfNow(desk.summary) && desk.summary.read || null;
	if (desk.marked) view.render(desk.text, isOfNow(desk.entities) ? found() : [], new Map(desk.labels.map(({ name, colour }) => [name, colour])), read);
	heard = null;
	if (recording) follow();
	$("count").textContent = isEmpty ? "" : `${counted(length, "character")}, ${counted(desk.text.trim().split(/\s+/).length, "word")}. `
		+ (read ? `Shaded: what was read for the summary, ${percent(read.reduce((sum, [start, end]) => sum + end - start, 0) / length)}.` : "");
}

function mark(is) {
	desk.marked = is;
	showArticle();
	remember();
}

function textChanged(text) {
	desk.text = text;
	desk.marked = false;
	showSummary();
	showEntities();
	remember();
}

function putText(text, name) {
	$("text").value = text;
	textChanged(text);
	tell($("note"), "");
	say(name ? `${name} is on the desk.` : "The desk is empty.");
}

async function take(file) {
	if (file.size > LARGEST_FILE_MB * 1e6) { tell($("note"), `${file.name} has more than ${LARGEST_FILE_MB} MB. Paste the part that matters.`); return; }
	const text = await textOfFile(file);
	if (!text.trim() || text.includes("\0")) tell($("note"), `${file.name} holds no text that can be read. Drop a .txt or .html file.`);
	else putText(text, file.name);
}

// The house

const NAMES = { llama: "Summaries", "stand-in": "Summaries, stand-in", gliner: "Entities" };
const CLOUD = { closed: ["ok", "in use"], open: ["bad", "left alone for a while"], "half-open": ["wait", "being tried again"] };
let timer = 0, away = 0, shown = "", asking = null;

const nameOf = name => NAMES[name] ?? name.replace(/^piper:/, "Voice ");
const isComing = ({ state }) => ["downloading", "loading"].includes(state);
const stateOf = model => `${model.state}${isComing(model) && model.progress != null ? ` ${percent(model.progress)}` : ""}`;

const sum = (queues, name) => Object.values(queues).reduce((total, queue) => total + queue[name], 0);

function pollHealth() {
	clearTimeout(timer);
	return asking ??= askHealth().then(() => {
		asking = null;
		const isBusy = Object.values(health?.models ?? {}).some(isComing) || Object.values(cards).some(card => card.controller);
		if (!document.hidden) timer = setTimeout(pollHealth, away ? Math.min(15_000, 2000 * away) : isBusy ? 1500 : 5000);
	});
}

async function askHealth() {
	try {
		const response = await fetch(new URL("health", base), { cache: "no-store", signal: AbortSignal.timeout(8000) });
		health = await response.json();
		if (away) say("The service is back.");
		if (away && !voices.length) loadVoices();
		away = 0;
	} catch {
		health = null;
		if (!away++) say("The service does not answer; trying again.");
	}
	showHouse();
}

function showHouse() {
	const { models = {}, upstreams = {}, queues = {} } = health ?? {};
	const all = Object.keys({ ...NAMES, ...models }).filter(name => models[name]).map(name => [nameOf(name), models[name]]);
	const isFailed = ([, { state }]) => state === "failed", clouds = Object.entries(upstreams);
	const lines = health ? [
		...all.filter(isFailed).map(([name]) => `${name} could not be loaded`), ...all.filter(([, model]) => isComing(model)).map(([name, model]) => `${name} ${stateOf(model)}`),
		...clouds.filter(([, { state }]) => state !== "closed").map(([name, { state }]) => `${name} ${CLOUD[state][1]}`),
	] : ["the service does not answer; trying again"];
	$("dot").dataset.state = !health || all.some(isFailed) ? "bad" : lines.length ? "wait" : "ok";
	$("house-line").textContent = capital(lines.join(", ")) || "Everything is ready";
	if (!health) return;
	const cells = all.map(([name, model]) => {
		const speeds = ["reading", "writing"].filter(what => model.rates?.[`${what}_tokens_per_second`])
			.map(what => `${what} ${number(Math.round(model.rates[`${what}_tokens_per_second`]))}`).join(", ");
		const dot = { ready: "ok", failed: "bad" }[model.state] ?? "wait";
		return { name, dot, state: stateOf(model), bar: isComing(model) && { value: model.progress }, notes: [speeds && `${speeds} tokens/s`, dot !== "ok" && model.detail] };
	});
	for (const [name, { state: known, retry_in_seconds: rest }] of clouds) {
		const [dot, state] = CLOUD[known];
		cells.push({ name: capital(name), dot, state, notes: [rest > 0 && `tried again in ${Math.ceil(rest)} s`] });
	}
	const waiting = sum(queues, "waiting"), working = sum(queues, "at_work");
	if (health.queues) cells.push({
		name: "Queue", dot: waiting ? "wait" : "ok", state: waiting || working ? `${working} at work, ${waiting} waiting` : "empty",
		notes: waiting ? Object.entries(queues).filter(([, queue]) => queue.waiting).map(([name, queue]) => `${queue.waiting} for /${name}`) : [],
	});
	const now = JSON.stringify(cells);
	if (now === shown) return;
	shown = now;
	$("house-list").replaceChildren(...cells.map(({ name, dot, state, bar, notes }) => make("li", {},
		make("strong", { textContent: name }), make("span", { className: "state" }, make("span", { className: "dot", "data-state": dot }), state),
		...bar ? [make("progress", { "aria-label": name, ...bar.value != null && bar })] : [],
		...notes.filter(Boolean).map(note => make("span", { className: "small", dir: "auto", textContent: note })))));
}

// What survives a reload

const FIELDS = ["max-tokens", "temperature", "seed", "threshold", "rate", "pitch"];
const NOT_KEPT = "The browser cannot keep so large a desk: after a reload the article is gone.";
let remembering = 0;

function remember() {
	clearTimeout(remembering);
	remembering = setTimeout(rememberNow, 300);
}

function rememberNow() {
	clearTimeout(remembering);
	const settings = { labels: desk.labels, fields: FIELDS.map(id => $(id).value), voice, house: $("house").open }, now = result => isOfNow(result) ? { ...result, text: "" } : null;
	const whole = JSON.stringify({ ...settings, text: desk.text, marked: desk.marked, summary: now(desk.summary), entities: now(desk.entities) });
	const isKept = whole.length <= LONGEST_KEPT && kept.set(DESK, whole);
	if (!isKept) kept.set(DESK, JSON.stringify(settings));
	if (!isKept || $("note").textContent === NOT_KEPT) tell($("note"), isKept ? "" : NOT_KEPT);
}

function recall() {
	$("house").open = innerWidth >= 900;
	try {
		const { labels, text = "", marked, summary, entities, ...state } = JSON.parse(kept.get(DESK));
		FIELDS.forEach((id, at) => { $(id).value = state.fields[at]; });
		({ voice } = state);
		$("house").open = state.house;
		$("text").value = text;
		Object.assign(desk, { labels, text, marked, summary: summary && { ...summary, text }, entities: entities && { ...entities, text } });
	} catch { /* nothing is kept, or not all of it */ }
}

// From the elements to all that

const cards = { summarize: new Card("summarize", "Summary", summarize), extract: new Card("extract", "Entities", extract), audio: new Card("audio", "Listen", listen) };
const all = () => Object.values(cards).forEach(card => card.start());
const hasFiles = event => event.dataTransfer.types.includes("Files");

function fieldsChanged() {
	$("rate-value").textContent = `${(1 + $("rate").value / 100).toFixed(2)}×`;
	$("pitch-value").textContent = signed($("pitch").value, " Hz");
	remember();
}

function keyChanged() {
	$("forget").hidden = !hasKey();
	if (!voices.length) loadVoices();
}

const clicks = {
	all,
	write: () => mark(false),
	marked: () => mark(true),
	clear: () => { putText(""); $("text").focus(); },
	open: () => $("file").click(),
	add: addLabel,
	forget: () => { setKey(""); say("The key is forgotten."); },
	"copy-summary": () => copy($("summary").textContent, $("copy-summary")),
	"copy-csv": () => copy(csv(), $("copy-csv")),
	"copy-json": () => copy(JSON.stringify(found(), null, 2), $("copy-json")),
	"save-mp3": () => save(recording.mp3, "article.mp3"),
	"save-vtt": () => saveCaptions("text/vtt", "article.vtt"),
	"save-srt": () => saveCaptions("application/x-subrip", "article.srt"),
};
for (const [id, handler] of Object.entries(clicks)) $(id).onclick = handler;
for (const id of FIELDS) $(id).oninput = fieldsChanged;
$("text").oninput = () => textChanged($("text").value);
$("file").onchange = () => { if ($("file").files[0]) take($("file").files[0]); $("file").value = ""; };
$("threshold").oninput = () => { showEntities(); remember(); };
$("label").onkeydown = event => { if (event.key === "Enter" && !event.ctrlKey) addLabel(); };
$("search").oninput = showVoices;
$("voice").onchange = () => { voice = $("voice").value; remember(); };
$("player").onplay = $("player").onseeked = $("player").onpause = follow;
$("player").onended = () => view.unhear();
$("house").ontoggle = remember;
document.onkeydown = event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("key-dialog").open) all(); };
document.ondragover = event => { if (hasFiles(event)) event.preventDefault(); $("article").classList.toggle("dropping", hasFiles(event)); };
document.ondragleave = event => { if (!event.relatedTarget) $("article").classList.remove("dropping"); };
document.ondrop = event => { $("article").classList.remove("dropping"); if (hasFiles(event)) { event.preventDefault(); take(event.dataTransfer.files[0]); } };
document.onvisibilitychange = () => { if (document.hidden) { clearTimeout(timer); rememberNow(); } else pollHealth(); };
addEventListener("pagehide", rememberNow);

recall();
onKey(keyChanged);
keyChanged();
fieldsChanged();
showSummary();
showEntities();
pollHealth();
fetch(new URL("samples.json", import.meta.url)).then(answer => answer.json()).then(samples => {
	$("sample").append(...samples.map(({ title }, at) => new Option(title, at)));
	$("sample").onchange = () => { const chosen = samples[$("sample").value]; $("sample").value = ""; if (chosen) putText(chosen.text, chosen.title); };
}).catch(() => { $("sample").parentElement.hidden = true; });
