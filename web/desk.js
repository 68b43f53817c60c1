// The desk: one article, three things that happen to it, and how the house is.

import { base, call, toClipboard, curl, events, forgetKey, hasKey, httpx, kept, onKey, Problem, told } from "./calls.js";
import { ArticleView, countCodePoints, inkOn, textOfFile } from "./article.js";
import { language, play, save, whoSpeaks, wordAt, words } from "./listen.js";

const $ = id => document.getElementById(id);
const DESK = "factory-desk";
const LONGEST_KEPT = 1_500_000, LONGEST_ARTICLE = 200_000, LONGEST_SPOKEN = 20_000, LARGEST_FILE = 8_000_000;
const MOST_LABELS = 50, MOST_ROWS = 500;
// Entities are asked for once with this threshold. The service decides on the best-scoring span first, so what it finds with
// a higher threshold are those of these that score over it: the slider needs no call.
const LOWEST_THRESHOLD = 0.1;
// After Okabe and Ito, lightened: told apart with every kind of colour vision, each with black letters on it.
const PALETTE = ["#8fcbf0", "#f3c05c", "#74cfae", "#e8a9cc", "#f5e97a", "#f2a678", "#9db8e8", "#c9c9c9"];
const ADVICE = "Mend that and run it again.";

const desk = {
  text: "", labels: ["Person", "Organization", "Location"].map((name, at) => ({ name, colour: PALETTE[at] })),
  marked: false, summary: null, entities: null,
};
const view = new ArticleView($("view"));
let recording = null, health = null, voices = [], keptVoice = "";

const number = value => value.toLocaleString("en");
const seconds = value => value < 1 ? "less than 1 s" : `about ${Math.round(value)} s`;
const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const fill = (list, items) => list.replaceChildren(...items.filter(Boolean).map(text => make("li", { dir: "auto", textContent: text })));
const tell = (element, sentence) => { element.textContent = sentence; element.hidden = !sentence; };

/** For those who hear the page: few sentences, one at a time. */
function say(sentence) {
  $("said").textContent = "";
  requestAnimationFrame(() => { $("said").textContent = sentence; });
}

// ---- One card for each thing that happens to the article

class Card {
  constructor(id, name, work) {
    this.name = name;
    this.work = work;
    this.element = $(id);
    const find = selector => this.element.querySelector(selector);
    [this.button, this.stop, this.doing, this.what] = [".run", ".stop", ".doing", ".what"].map(find);
    [this.problem, this.result, this.code, this.progress] = [".problem", ".result", ".code", "progress"].map(find);
    this.button.onclick = () => this.run();
    this.stop.onclick = () => { this.controller?.abort(); this.button.focus(); };
    this.code.ontoggle = () => this.#write();
    this.calls = [];
  }

  async run() {
    if (this.controller) return;
    const controller = this.controller = new AbortController();
    this.busy(true);
    tell(this.problem, "");
    this.tell("Asking the service");
    try {
      if (!desk.text.trim()) throw new Problem("There is no article. Write one, paste one, drop a file or choose a sample.");
      const most = countCodePoints(desk.text);
      if (most > LONGEST_ARTICLE) {
        throw new Problem(`The service takes ${number(LONGEST_ARTICLE)} characters; the article has ${number(most)}. Shorten it.`);
      }
      await this.work(this, controller.signal);
      this.tell("");
    } catch (error) {
      this.tell("");
      if (controller.signal.aborted) { this.tell("Stopped."); say(`${this.name} stopped.`); } else this.fail(error);
    } finally {
      this.controller = null;
      this.busy(false);
      remember();
    }
  }

  fail(error) {
    const sentence = error instanceof Problem ? error.message : `The page itself failed: ${error.message}. Reload it and try again.`;
    tell(this.problem, sentence);
    say(`${this.name}: ${sentence}`);
  }

  busy(is) {
    this.element.setAttribute("aria-busy", is);
    this.button.setAttribute("aria-disabled", is);
    if (!is && document.activeElement === this.stop) this.button.focus();
    this.stop.hidden = !is;
  }

  tell(sentence, part) {
    tell(this.what, sentence);
    this.doing.hidden = !sentence;
    if (!this.progress) return;
    this.progress.hidden = part === undefined;
    if (part !== undefined) this.progress.value = part;
  }

  /** What `call` tells while it waits. */
  get onWait() {
    return (sentence, isNew) => {
      this.tell(sentence || "Asking the service");
      if (isNew) say(`${this.name}: ${sentence}`);
    };
  }

  /** The calls that were made: [path, body, accept, file] each. They are written when they are looked at. */
  made(...calls) {
    this.calls = calls;
    this.#write();
  }

  #write() {
    if (!this.code.open) return;
    [...this.code.children].slice(1).forEach(child => child.remove());
    if (!this.calls.length) this.code.append(make("p", { className: "small", textContent: "It is shown here once it was made." }));
    for (const [path, body, accept, file] of this.calls) {
      for (const [name, text] of [["curl", curl(path, body, accept, file)], ["httpx", httpx(path, body, accept, file)]]) {
        const title = `${name}${file ? `, ${file}` : ""}`;
        const copied = make("button", { type: "button", textContent: "Copy", onclick: event => copy(text, event.target) });
        copied.setAttribute("aria-label", `Copy the call with ${title}`);
        const shown = make("pre", { tabIndex: 0, textContent: text });
        shown.setAttribute("role", "region");
        shown.setAttribute("aria-label", `The call with ${title}`);
        this.code.append(make("div", { className: "bar" }, make("h3", { textContent: title }), copied), shown);
      }
    }
  }
}

async function copy(text, button) {
  const done = await toClipboard(text);
  const before = button.dataset.name ??= button.textContent;
  button.textContent = done ? "Copied" : "Not copied";
  say(done ? "Copied." : "The browser does not let the page copy.");
  setTimeout(() => { button.textContent = before; }, 1500);
}

// ---- Summary

function statusOf({ state, place, seconds: left, tokens, read, model }) {
  const rest = left == null ? "" : `, ${seconds(left)}`;
  if (state === "waiting") return place ? `Place ${place}${rest}` : `Waiting${rest}`;
  if (state === "reading") return `${model ?? "The model"} reads ${read ? `${number(read)} of ` : ""}${counted(tokens ?? 0, "token")}${rest}`;
  if (state === "thinking") return `${model ?? "The model"} thinks`;
  if (state === "writing") return `${model ?? "The model"} writes`;
  return null;
}

function field(id, name) {
  const input = $(id);
  if (!input.checkValidity()) {
    input.closest("details").open = true;
    input.focus();
    throw new Problem(`${name}: from ${input.min} to ${number(Number(input.max))}${input.step ? `, in steps of ${input.step}` : ", a whole number"}. ${ADVICE}`);
  }
  return input.value === "" ? undefined : Number(input.value);
}

async function summarize(card, signal) {
  const text = desk.text;
  const seed = field("seed", "Seed");
  const body = {
    text, max_tokens: field("max-tokens", "Most tokens"), temperature: field("temperature", "Temperature"),
    ...(seed !== undefined && { seed }), stream: true,
  };
  card.made(["summarize", body]);
  const written = document.createTextNode("");
  const response = await call("summarize", { body, signal, onWait: card.onWait });
  desk.summary = null;
  showSummary();
  $("summary").replaceChildren(written);
  let done = null, told_ = "";
  for await (const { name, data } of events(response, signal)) {
    if (name === "token") {
      if (!written.length) card.tell("Writing");
      written.appendData(data.text);
      card.result.hidden = false;
    } else if (name === "status") {
      const sentence = statusOf(data);
      if (sentence !== null) card.tell(sentence, data.state === "reading" && data.tokens ? (data.read ?? 0) / data.tokens : undefined);
      if (sentence !== null && data.state !== told_) { told_ = data.state; say(`Summary: ${sentence}.`); }
    } else if (name === "done") done = data;
    else if (name === "error") throw told(data, data.status);
  }
  if (!done) throw new Problem("The connection broke before the end. Run it again.");
  desk.summary = { text, ...done };
  showSummary();
  showArticle();
  say(`Summary ready: ${counted(done.usage?.completion_tokens ?? 0, "token")}.`);
}

function licence(model) {
  if (/^Llama-3\./.test(model)) return "Built with Llama";
  if (/^Llama-3/.test(model)) return "Built with Meta Llama 3";
  return /^SmolLM2/.test(model) ? "SmolLM2, Apache-2.0" : "";
}

function showSummary() {
  const summary = desk.summary;
  $("summarize").querySelector(".result").hidden = !summary;
  if (!summary) { $("summary").textContent = ""; fill($("summary-facts"), []); tell($("summary-note"), ""); $("licence").textContent = ""; return; }
  const ended = { length: "ended at the most tokens", deadline: "ended by the deadline" }[summary.finish_reason];
  $("summary").textContent = summary.summary;
  fill($("summary-facts"), [
    summary.model, `${counted(summary.usage?.completion_tokens ?? 0, "token")} in ${(summary.inference_time_ms / 1000).toFixed(1)} s`,
    summary.input_tokens && `article of ${counted(summary.input_tokens, "token")}${summary.condensed ? ", condensed" : ""}`,
    ended, summary.usage?.cached_answer && "made before",
  ]);
  const missing = summary.unsupported?.length ? `Not in the article: ${summary.unsupported.join(", ")}.` : "";
  const stale = summary.text !== desk.text ? "The article has changed since." : "";
  tell($("summary-note"), `${missing} ${stale}`.trim());
  $("licence").textContent = licence(summary.model);
}

// ---- Entities

const threshold = () => Number($("threshold").value);
const found = () => desk.entities?.entities.filter(entity => entity.score > threshold()) ?? [];
const colours = () => new Map(desk.labels.map(label => [label.name, label.colour]));

async function extract(card, signal) {
  const text = desk.text, labels = desk.labels.map(label => label.name);
  if (!labels.length) throw new Problem("There is no label to look for. Add one and run it again.");
  let lowest = Math.min(LOWEST_THRESHOLD, threshold());
  const body = () => ({ text, labels, threshold: lowest });
  let response;
  try {
    card.made(["extract", body()]);
    response = await call("extract", { body: body(), signal, onWait: card.onWait });
  } catch (error) {
    // More than an answer may hold: then only what the slider shows.
    if (error.status !== 413 || threshold() <= lowest) throw error;
    lowest = threshold();
    card.made(["extract", body()]);
    response = await call("extract", { body: body(), signal, onWait: card.onWait });
  }
  desk.entities = { text, lowest, ...await response.json() };
  desk.marked = true;
  showEntities();
  say(`${counted(found().length, "entity", "entities")} found.`);
}

function showEntities() {
  const answer = desk.entities, shown = found(), counts = new Map();
  for (const { label } of shown) counts.set(label, (counts.get(label) ?? 0) + 1);
  $("threshold-value").textContent = threshold().toFixed(2);
  $("labels").replaceChildren(...desk.labels.map((label, at) => labelRow(label, at, answer && (counts.get(label.name) ?? 0))));
  $("extract").querySelector(".result").hidden = !answer;
  if (answer) {
    fill($("extract-facts"), [
      counted(shown.length, "entity", "entities"), answer.model, `${number(answer.words)} words in ${number(answer.inference_time_ms)} ms`,
      answer.lowest > threshold() && `only those over ${answer.lowest} were asked for: run it again for more`,
      answer.cached_answer && "made before", answer.text !== desk.text && "the article has changed since",
    ]);
    const rows = shown.slice(0, MOST_ROWS).map(entity => make("tr", {}, ...[entity.text, entity.label, entity.score.toFixed(2), number(entity.start)]
      .map(text => make("td", { dir: "auto", textContent: text }))));
    if (shown.length > MOST_ROWS) rows.push(make("tr", {}, make("td", { colSpan: 4, textContent: `and ${number(shown.length - MOST_ROWS)} more; copies have all` })));
    $("rows").replaceChildren(...rows);
  }
  showArticle();
}

function labelRow(label, at, count) {
  const chip = make("span", { className: "chip", dir: "auto", textContent: label.name });
  const colour = make("input", { type: "color", value: label.colour, title: `Colour of ${label.name}` });
  const paint = () => { chip.style.setProperty("--mark", label.colour); chip.style.setProperty("--ink", inkOn(label.colour)); };
  paint();
  colour.setAttribute("aria-label", `Colour of ${label.name}`);
  colour.oninput = () => { label.colour = colour.value; paint(); showArticle(); remember(); };
  const remove = make("button", { type: "button", textContent: "×", title: `Remove ${label.name}`, onclick: () => { desk.labels.splice(at, 1); labelsChanged(); } });
  remove.setAttribute("aria-label", `Remove ${label.name}`);
  return make("li", {}, colour, chip, make("span", { className: "number", textContent: count ?? "" }), remove);
}

function labelsChanged() {
  const again = desk.entities !== null && desk.entities.text === desk.text && desk.labels.length > 0;
  if (again || !desk.labels.length) desk.entities = null;
  showEntities();
  $("label").focus();
  remember();
  // Which labels there are decides on what each span is: another answer, and only that, is right.
  if (again) { cards.extract.controller?.abort(); queueMicrotask(async () => { while (cards.extract.controller) await new Promise(requestAnimationFrame); cards.extract.run(); }); }
}

function addLabel() {
  const name = $("label").value.trim();
  const refused = !name ? "Write a label first." : desk.labels.some(label => label.name === name) ? `${name} is there already.`
    : desk.labels.length >= MOST_LABELS ? `There may be ${MOST_LABELS} labels.` : "";
  tell(cards.extract.problem, refused);
  if (refused) { say(refused); $("label").focus(); return; }
  const free = PALETTE.find(colour => !desk.labels.some(label => label.colour === colour)) ?? PALETTE[desk.labels.length % PALETTE.length];
  desk.labels.push({ name, colour: free });
  $("label").value = "";
  labelsChanged();
}

// Always in quotes (RFC 4180). What a spreadsheet would take for a formula is kept from it by an apostrophe.
const cell = value => `"${String(value).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
const csv = () => ["text,label,score,start,end", ...found().map(entity => [entity.text, entity.label].map(cell).concat(entity.score, entity.start, entity.end).join(","))].join("\r\n") + "\r\n";

// ---- Listen

const signed = (value, unit) => `${value < 0 ? "-" : "+"}${Math.abs(value)}${unit}`;

async function listen(card, signal) {
  const text = desk.text, spoken = countCodePoints(text), player = $("player");
  if (spoken > LONGEST_SPOKEN) {
    throw new Problem(`Read aloud takes ${number(LONGEST_SPOKEN)} characters; the article has ${number(spoken)}. Shorten it, or put a part of it on the desk.`);
  }
  const body = { text, voice: $("voice").value || "en-US-ChristopherNeural", rate: signed(Number($("rate").value), "%"), pitch: signed(Number($("pitch").value), "Hz") };
  const byWord = "text/vtt; timestamps=words";
  card.made(["audio", body, undefined, "article.mp3"], ["audio", body, byWord, "article.vtt"]);
  player.pause();
  signal.addEventListener("abort", () => player.pause());
  card.tell("Making the first sound");
  const response = await call("audio", { body, signal, onWait: card.onWait });
  const made = recording = { text, body, words: [], mp3: null };
  const engine = response.headers.get("x-audio-engine") ?? "", voice = response.headers.get("x-audio-voice") ?? "";
  card.result.hidden = false;
  $("save-mp3").disabled = true;
  pollHealth().then(() => { $("engine").textContent = whoSpeaks(engine, voice, health?.upstreams?.["speech cloud"]); });
  // The same fields are the same recording: it is not made twice.
  const captions = call("audio", { body, accept: byWord, signal, onWait: () => {} }).then(answer => answer.text())
    .then(vtt => { made.words = words(vtt, text); }, () => { /* the sound itself says what went wrong */ });
  card.tell("The sound is heard while it is made");
  made.mp3 = await play(response, player, signal, () => { desk.marked = true; showArticle(); say("Reading aloud."); });
  $("save-mp3").disabled = false;
  await captions;
}

function follow() {
  const player = $("player");
  if (!recording || recording.text !== desk.text || !desk.marked) { view.unhear(); return; }
  const word = wordAt(recording.words, player.currentTime);
  if (word !== recording.heard) {
    recording.heard = word;
    if (word) view.hear(word.start, word.end); else view.unhear();
  }
  if (!player.paused && !player.ended) requestAnimationFrame(follow);
}

async function saveCaptions(accept, name) {
  if (!recording) return;
  tell(cards.audio.problem, "");
  try {
    const answer = await call("audio", { body: recording.body, accept, onWait: cards.audio.onWait });
    save(await answer.blob(), name);
  } catch (error) { cards.audio.fail(error); }
}

async function loadVoices() {
  try {
    const answer = await (await call("audio/voices", { ask: false })).json();
    voices = answer.voices;
    keptVoice ||= answer.default;
  } catch { voices = []; }
  showVoices();
}

function showVoices() {
  const wanted = $("search").value.trim().toLowerCase(), chosen = $("voice").value || keptVoice || "en-US-ChristopherNeural";
  const groups = new Map();
  for (const voice of voices.length ? voices : [{ name: chosen, locale: chosen.split("-").slice(0, 2).join("-"), gender: "" }]) {
    const spoken = language(voice.locale);
    if (voice.name !== chosen && !`${spoken} ${voice.name} ${voice.gender}`.toLowerCase().includes(wanted)) continue;
    if (!groups.has(spoken)) groups.set(spoken, []);
    groups.get(spoken).push(voice);
  }
  const sorted = [...groups].sort(([a], [b]) => a.localeCompare(b));
  $("voice").replaceChildren(...sorted.map(([name, members]) => make("optgroup", { label: name }, ...members.map(voice => {
    const short = voice.name.replace(`${voice.locale}-`, "").replace(/(Multilingual)?Neural$/, "");
    return new Option(`${short}${voice.gender ? `, ${voice.gender.toLowerCase()}` : ""}`, voice.name, false, voice.name === chosen);
  }))));
}

// ---- The article

function showArticle() {
  const fits = desk.text.trim() !== "";
  if (!fits) desk.marked = false;
  const [showsText, showsMarks] = [!desk.marked, desk.marked];
  const hadFocus = document.activeElement === $("text") && showsMarks;
  $("text").hidden = !showsText;
  $("view").hidden = !showsMarks;
  if (hadFocus) $("view").focus();
  $("write").setAttribute("aria-pressed", showsText);
  $("marked").setAttribute("aria-pressed", showsMarks);
  $("marked").setAttribute("aria-disabled", !fits);
  const read = desk.summary?.text === desk.text ? desk.summary.read ?? null : null;
  if (desk.marked) {
    view.render(desk.text, desk.entities?.text === desk.text ? found() : [], colours(), read);
    if (recording) { recording.heard = undefined; follow(); }
  }
  const length = countCodePoints(desk.text);
  $("count").textContent = length ? `${counted(length, "character")}, ${counted(desk.text.trim().split(/\s+/).length, "word")}.` : "";
  $("read-note").textContent = read && desk.marked ? `The summary is of the sentences that are shaded, ${Math.round(100 * read.reduce((sum, [start, end]) => sum + end - start, 0) / length)} % of the article.` : "";
}

function setText(text) {
  desk.text = text;
  $("text").value = text;
  desk.marked = false;
  textChanged();
}

function textChanged() {
  view.unhear();
  showSummary();
  showEntities();
  remember();
}

async function take(file) {
  tell($("note"), "");
  if (file.size > LARGEST_FILE) {
    tell($("note"), `${file.name} has ${number(Math.round(file.size / 1e6))} MB; a file may have ${LARGEST_FILE / 1e6} MB. Paste the part that matters.`);
    return;
  }
  const text = await textOfFile(file);
  if (!text.trim() || text.includes("\0")) { tell($("note"), `${file.name} holds no text that can be read. Drop a .txt or .html file.`); return; }
  setText(text);
  say(`${file.name} is on the desk.`);
}

// ---- The house

const NAMES = { llama: "Summaries", "stand-in": "Summaries, stand-in", "llama-stand-in": "Summaries, stand-in", gliner: "Entities" };
const STATES = { unloaded: "not loaded yet", downloading: "downloading", loading: "loading", ready: "ready", failed: "failed" };
const CLOUD = { closed: ["ready", "in use"], open: ["failed", "left alone for a while"], "half-open": ["loading", "being tried again"] };
const nameOf = name => NAMES[name] ?? name.replace(/^piper:/, "Voice ");
const dotOf = state => state === "ready" ? "ok" : state === "failed" ? "bad" : "wait";
let timer = 0, away = 0, shownHouse = "", polling = null;

function pollHealth() {
  clearTimeout(timer);
  polling ??= askHealth().finally(() => {
    polling = null;
    const soon = Object.values(health?.models ?? {}).some(model => ["downloading", "loading"].includes(model.state)) || Object.values(cards).some(card => card.controller);
    if (!document.hidden) timer = setTimeout(pollHealth, away ? Math.min(15_000, 2000 * away) : soon ? 1500 : 5000);
  });
  return polling;
}

async function askHealth() {
  try {
    const response = await fetch(new URL("health", base), { cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (!response.ok) throw new Error();
    health = await response.json();
    if (away) { say("The service is back."); if (!voices.length) loadVoices(); }
    away = 0;
  } catch {
    if (!away++) say("The service does not answer. The page tries again by itself.");
    health = null;
  }
  showHouse();
}

function showHouse() {
  if (!health) {
    $("dot").dataset.state = "bad";
    $("house-line").textContent = "The service does not answer; trying again";
    return;
  }
  const models = Object.entries(health.models ?? {}), coming = models.filter(([, model]) => ["downloading", "loading"].includes(model.state));
  const failed = models.filter(([, model]) => model.state === "failed");
  const lines = [
    ...failed.map(([name]) => `${nameOf(name)} could not be loaded`),
    ...coming.map(([name, model]) => `${nameOf(name)} ${STATES[model.state]}${model.progress == null ? "" : ` ${Math.round(100 * model.progress)} %`}`),
    ...(health.upstreams?.["speech cloud"]?.state ?? "closed") === "closed" ? [] : ["the speech cloud is away"],
  ];
  $("dot").dataset.state = failed.length ? "bad" : lines.length ? "wait" : "ok";
  $("house-line").textContent = lines.length ? sentenceCase(lines.join(", ")) : "Everything is ready";
  const cells = [...models.map(modelCell), ...Object.entries(health.upstreams ?? {}).map(upstreamCell), ...Object.entries(health.queues ?? {}).map(queueCell)];
  const now = JSON.stringify(cells);
  if (now === shownHouse) return;
  shownHouse = now;
  $("house-list").replaceChildren(...cells.map(({ name, dot, state, details, part }) => {
    const line = make("span", { className: "state" });
    if (dot) line.append(Object.assign(make("span", { className: "dot" })));
    if (dot) line.firstChild.dataset.state = dot;
    line.append(state);
    const item = make("li", {}, make("strong", { textContent: name }), line);
    if (part !== undefined) {
      const bar = make("progress", part === null ? {} : { value: part });
      bar.setAttribute("aria-label", `${name}: ${state}`);
      item.append(bar);
    }
    item.append(...details.filter(Boolean).map(text => make("span", { className: "small", dir: "auto", textContent: text })));
    return item;
  }));
}

const sentenceCase = text => text[0].toUpperCase() + text.slice(1);

function modelCell([name, model]) {
  const rates = model.rates ?? {}, { reading_tokens_per_second: reads, writing_tokens_per_second: writes } = rates;
  const speeds = [reads && `reads ${number(Math.round(reads))}`, writes && `writes ${number(Math.round(writes))}`].filter(Boolean).join(", ");
  const isComing = ["downloading", "loading"].includes(model.state);
  const percent = isComing && model.progress != null ? `, ${Math.round(100 * model.progress)} %` : "";
  return {
    name: nameOf(name), dot: dotOf(model.state), state: `${STATES[model.state] ?? model.state}${percent}`,
    part: isComing ? model.progress ?? null : undefined, details: [speeds && `${speeds} tokens/s`, model.detail],
  };
}

function upstreamCell([name, { state, retry_in_seconds: rest }]) {
  const [kind, word] = CLOUD[state] ?? ["loading", state];
  return { name: sentenceCase(name), dot: dotOf(kind), state: word, details: [rest > 0 && `tried again in ${Math.ceil(rest)} s`] };
}

function queueCell([name, { at_work: working, waiting }]) {
  return { name: `Queue of /${name}`, state: working || waiting ? `${number(working)} at work, ${number(waiting)} waiting` : "empty", details: [] };
}

// ---- What survives a reload

let remembering = 0;
const FIELDS = ["max-tokens", "temperature", "seed", "threshold", "rate", "pitch"];

function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(rememberNow, 300);
}

function rememberNow() {
  clearTimeout(remembering);
  const fields = Object.fromEntries(FIELDS.map(id => [id, $(id).value]));
  const same = result => result?.text === desk.text ? { ...result, text: undefined } : null;
  const small = { labels: desk.labels, fields, voice: $("voice").value || keptVoice, house: $("house").open };
  const all = { ...small, text: desk.text, marked: desk.marked, summary: same(desk.summary), entities: same(desk.entities) };
  // Without what was found, then without the article.
  const stored = [all, { ...small, text: desk.text }, small].findIndex(state => {
    const json = JSON.stringify(state);
    return json.length <= LONGEST_KEPT && kept.set(DESK, json);
  });
  const lost = { 1: "What was found is too much to be kept: after a reload, run it again.", 2: "The article is too large to be kept: it is gone after a reload.", [-1]: "This browser keeps nothing: the desk is empty after a reload." }[stored];
  if (lost) tell($("note"), lost);
  else if (/ is gone after| too much to be kept|keeps nothing/.test($("note").textContent)) tell($("note"), "");
}

function recall() {
  let state = null;
  try { state = JSON.parse(kept.get(DESK)); } catch { /* of another version, or cut */ }
  if (typeof state !== "object" || !state) { $("house").open = innerWidth >= 900; return; }
  for (const id of FIELDS) if (typeof state.fields?.[id] === "string") $(id).value = state.fields[id];
  if (Array.isArray(state.labels)) {
    desk.labels = state.labels.filter(label => typeof label?.name === "string" && /^#[0-9a-f]{6}$/i.test(label.colour)).slice(0, MOST_LABELS);
  }
  keptVoice = typeof state.voice === "string" ? state.voice : "";
  $("house").open = state.house === true;
  desk.text = typeof state.text === "string" ? state.text : "";
  $("text").value = desk.text;
  desk.marked = state.marked === true;
  if (typeof state.summary?.summary === "string") desk.summary = { ...state.summary, text: desk.text };
  if (Array.isArray(state.entities?.entities)) desk.entities = { ...state.entities, text: desk.text };
}

// ---- From the elements to all that

const cards = {
  summarize: new Card("summarize", "Summary", summarize),
  extract: new Card("extract", "Entities", extract),
  audio: new Card("audio", "Listen", listen),
};
const all = () => Object.values(cards).forEach(card => card.run());
const outputs = () => {
  $("rate-value").textContent = `${(1 + Number($("rate").value) / 100).toFixed(2)}×`;
  $("pitch-value").textContent = signed(Number($("pitch").value), " Hz");
};

$("all").onclick = all;
document.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("key-dialog").open) { event.preventDefault(); all(); }
});
$("text").oninput = () => { desk.text = $("text").value; textChanged(); };
$("write").onclick = () => { desk.marked = false; showArticle(); remember(); };
$("marked").onclick = () => { desk.marked = true; showArticle(); remember(); };
$("clear").onclick = () => { setText(""); $("text").focus(); };
$("open").onclick = () => $("file").click();
$("file").onchange = () => { if ($("file").files[0]) take($("file").files[0]); $("file").value = ""; };
document.addEventListener("dragover", event => { if ([...event.dataTransfer.types].includes("Files")) { event.preventDefault(); $("article").classList.add("dropping"); } });
document.addEventListener("dragleave", event => { if (!event.relatedTarget) $("article").classList.remove("dropping"); });
document.addEventListener("drop", event => {
  $("article").classList.remove("dropping");
  if (event.dataTransfer.files[0]) { event.preventDefault(); take(event.dataTransfer.files[0]); }
});
$("copy-summary").onclick = event => copy(desk.summary?.summary ?? $("summary").textContent, event.target);
$("copy-csv").onclick = event => copy(csv(), event.target);
$("copy-json").onclick = event => copy(JSON.stringify(found(), null, 2), event.target);
let frame = 0;
$("threshold").oninput = () => { cancelAnimationFrame(frame); frame = requestAnimationFrame(showEntities); remember(); };
$("add").onclick = addLabel;
$("label").onkeydown = event => { if (event.key === "Enter" && !event.ctrlKey) { event.preventDefault(); addLabel(); } };
$("search").oninput = showVoices;
$("voice").onchange = () => { keptVoice = $("voice").value; remember(); };
for (const id of ["rate", "pitch"]) $(id).oninput = () => { outputs(); remember(); };
for (const id of ["max-tokens", "temperature", "seed"]) $(id).oninput = remember;
$("player").onplay = () => { if (recording) recording.heard = undefined; follow(); };
$("player").onseeked = follow;
$("player").onended = () => view.unhear();
$("save-mp3").onclick = () => { if (recording?.mp3) save(recording.mp3, "article.mp3"); };
$("save-vtt").onclick = () => saveCaptions("text/vtt", "article.vtt");
$("save-srt").onclick = () => saveCaptions("application/x-subrip", "article.srt");
$("house").ontoggle = remember;
$("forget").onclick = () => { forgetKey(); say("The key is forgotten."); };
const showForget = () => { $("forget").hidden = !hasKey(); };
onKey(() => { showForget(); if (!voices.length) loadVoices(); });
document.addEventListener("visibilitychange", () => { if (document.hidden) { clearTimeout(timer); rememberNow(); } else pollHealth(); });
addEventListener("pagehide", rememberNow);

recall();
showForget();
outputs();
showVoices();
showSummary();
showEntities();
pollHealth();
loadVoices();
fetch(new URL("samples.json", import.meta.url)).then(answer => answer.json()).then(samples => {
  $("sample").append(...samples.map(({ title }, at) => new Option(title, at)));
  $("sample").onchange = () => { if ($("sample").value) setText(samples[$("sample").value].text); $("sample").value = ""; };
}, () => { $("sample").closest("label").hidden = true; });
