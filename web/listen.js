// Sound while it is made, and which word of the article is heard.

import { piece } from "./calls.js";

const MP3 = "audio/mpeg";
const clock = text => text.trim().split(":").reduce((seconds, part) => seconds * 60 + Number(part), 0);
const unescaped = text => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

/**
 * The words of WebVTT with timestamps: { at, until } in seconds and { start, end } in UTF-16 units of `text`. Captions hold
 * the whole text but for its white space, so each character is the next of the text.
 */
export function words(vtt, text) {
  const found = [];
  let place = 0;
  for (const cue of vtt.split("\n\n").slice(1)) {
    const [times, ...lines] = cue.trim().split("\n");
    if (!times?.includes("-->")) continue;
    const [begin, finish] = times.split("-->").map(clock);
    // Text, time, text, time, text: a word that begins with its cue has no time of its own.
    const parts = lines.join("\n").split(/<(\d[\d:.]*)>/);
    for (let number = 0; number < parts.length; number += 2) {
      const at = number ? clock(parts[number - 1]) : begin;
      const until = number + 2 < parts.length ? clock(parts[number + 1]) : finish;
      let start = -1, end = -1;
      for (const sign of unescaped(parts[number])) {
        if (/\s/.test(sign)) continue;
        const next = text.indexOf(sign, place);
        if (next < 0) break;
        if (start < 0) start = next;
        place = end = next + sign.length;
      }
      if (start >= 0) found.push({ at, until, start, end });
    }
  }
  return found;
}

/** The word that is heard at `seconds`, or null between words that lie apart. */
export function wordAt(found, seconds) {
  let low = 0, high = found.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (found[middle].at <= seconds) low = middle; else high = middle - 1;
  }
  const word = found[low];
  return word && word.at <= seconds && seconds < word.until ? word : null;
}

const event = (target, name) => new Promise(resolve => target.addEventListener(name, resolve, { once: true }));

/** Plays the body of a response in `audio` while it comes; the whole of it at the end. Throws when it breaks. */
export async function play(response, audio, signal, onStart) {
  const chunks = [];
  const streams = globalThis.MediaSource?.isTypeSupported?.(MP3);
  const source = streams ? new MediaSource() : null;
  let buffer = null, url = null;
  const start = () => { audio.play().catch(() => { /* the browser wants a click on the player */ }); onStart(); };
  if (source) {
    url = URL.createObjectURL(source);
    audio.src = url;
    await event(source, "sourceopen");
    buffer = source.addSourceBuffer(MP3);
  }
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { value, done } = await piece(reader, signal);
      if (done) break;
      chunks.push(value);
      if (!buffer) continue;
      try {
        buffer.appendBuffer(value);
        await event(buffer, "updateend");
      } catch {
        // More than a browser keeps of a stream, or no sound that it can play: the whole is tried at the end.
        buffer = null;
      }
      if (chunks.length === 1) start();
    }
  } finally {
    if (source?.readyState === "open" && !buffer?.updating) source.endOfStream();
  }
  const whole = new Blob(chunks, { type: MP3 });
  if (!buffer) {
    const at = audio.currentTime, wasPlaying = !audio.paused;
    audio.src = URL.createObjectURL(whole);
    audio.currentTime = at;
    if (wasPlaying || !source) start();
  }
  return whole;
}

export function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const names = new Map();

/** "English (United States)" of "en-US". */
export function language(locale) {
  if (!names.has(locale)) {
    let name = locale;
    try { name = new Intl.DisplayNames(["en"], { type: "language", languageDisplay: "standard" }).of(locale); } catch { /* as it is */ }
    names.set(locale, name);
  }
  return names.get(locale);
}

/** Who speaks, and why it is not the cloud. `cloud` is what /health tells of it, if it does. */
export function whoSpeaks(engine, voice, cloud) {
  if (engine === "edge-tts") return `The speech cloud speaks (edge-tts), as ${voice}.`;
  const who = { piper: "Piper, a neural voice of this service,", "espeak-ng": "espeak-ng, a synthetic voice," }[engine] ?? `${engine}`;
  const seconds = Math.ceil(cloud?.retry_in_seconds ?? 0);
  let why = "this service asks no speech cloud, or it cannot be reached from here";
  if (cloud?.state === "open") why = `the speech cloud keeps failing and is left alone${seconds ? ` for ${seconds} s more` : ""}`;
  else if (cloud?.state === "half-open") why = "the speech cloud has failed and is only now being tried again";
  else if (cloud?.failures > 0) why = "the speech cloud has just failed";
  else if (cloud) why = "the speech cloud did not begin in time";
  return `${who} speaks, as ${voice}: ${why}.`;
}
