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
	for (const cue of vtt.split("\n\n")) {
		const [, begin, finish, payload] = /^([\d:.]+) --> ([\d:.]+)\n(.*)/m.exec(cue) ?? [];
		// Text, time, text, time, text: a word that begins with its cue has no time of its own.
		const parts = [begin, ...payload?.split(/<([\d:.]+)>/) ?? [], finish];
		for (let number = 1; number < parts.length - 1; number += 2) {
			let start = -1;
			for (const sign of unescaped(parts[number]).replace(/\s/g, "")) {
				const next = text.indexOf(sign, place);
				if (next < 0) break;
				if (start < 0) start = next;
				place = next + sign.length;
			}
			if (start >= 0) found.push({ at: clock(parts[number - 1]), until: clock(parts[number + 1]), start, end: place });
		}
	}
	return found;
}

/** The word that is heard at `seconds`, if there is one. */
export const wordAt = (found, seconds) => found.find(word => word.at <= seconds && seconds < word.until);

const event = (target, name) => new Promise(resolve => target.addEventListener(name, resolve, { once: true }));

/** Plays the body of a response in `audio` while it comes; the whole of it at the end. Throws when it breaks. */
export async function play(response, audio, signal, onStart) {
	const chunks = [], reader = response.body.getReader(), source = globalThis.MediaSource?.isTypeSupported(MP3) ? new MediaSource() : null;
	const start = () => { audio.play().catch(() => { /* the browser wants a click on the player */ }); onStart(); };
	let buffer = null;
	if (source) {
		audio.src = URL.createObjectURL(source);
		await event(source, "sourceopen");
		buffer = source.addSourceBuffer(MP3);
	}
	try {
		for (let { value, done } = await piece(reader, signal); !done; ({ value, done } = await piece(reader, signal))) {
			chunks.push(value);
			try {
				buffer?.appendBuffer(value);
				if (buffer) await event(buffer, "updateend");
			} catch {
				// More than a browser keeps of a stream, or no sound that it can play: the whole is tried at the end.
				buffer = null;
			}
			if (buffer && chunks.length === 1) start();
		}
	} finally {
		if (source?.readyState === "open") source.endOfStream();
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

const names = new Intl.DisplayNames(["en"], { type: "language", languageDisplay: "standard" });

/** "English (United States)" of "en-US". */
export function language(locale) {
	try { return names.of(locale); } catch { return locale; }
}

/** Who speaks, and why it is not the cloud. `cloud` is what /health tells of it, if it does. */
export function whoSpeaks(engine, voice, cloud) {
	if (engine === "edge-tts") return `The speech cloud speaks (edge-tts), as ${voice}.`;
	const rest = Math.ceil(cloud?.retry_in_seconds ?? 0);
	const why = {
		open: `keeps failing and is left alone${rest ? ` for ${rest} s more` : ""}`, "half-open": "has failed and is only now being tried again",
		closed: cloud?.failures ? "has just failed" : "did not begin in time",
	}[cloud?.state] ?? "is not asked by this service";
	return `${engine === "piper" ? "Piper, a neural voice of this service," : `${engine}, a synthetic voice,`} speaks, as ${voice}: the speech cloud ${why}.`;
}
