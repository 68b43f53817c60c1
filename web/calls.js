// How the desk speaks with the service: retries, keys, streams, and how each call is written for a shell and in Python.

export const base = new URL("..", import.meta.url);
const KEY = "factory-key", MOST_TRIES = 30;
// A single argument of a command may have 128 kB on Linux.
const LONGEST_ARGUMENT = 100_000;

/** An error as a sentence that says what to do. */
export class Problem extends Error {
	constructor(sentence, status) {
		super(sentence);
		this.status = status;
	}
}

/** Storage that may be full, or closed to a page in a frame. */
export const kept = {
	get(name) { try { return localStorage.getItem(name); } catch { return null; } },
	set(name, value) { try { localStorage.setItem(name, value); return true; } catch { return false; } },
};

let key = kept.get(KEY) ?? "", asking = null, keyChanged = () => {};

export const hasKey = () => key !== "";
export const onKey = listener => { keyChanged = listener; };
export function setKey(value) {
	key = value;
	kept.set(KEY, key);
	keyChanged();
}

/** Asks for the key in a dialog, which calls that are refused at the same time share. Whether there is one now. */
function askForKey(isRefused) {
	return asking ??= new Promise(resolve => {
		const [dialog, field, why] = ["key-dialog", "key", "key-why"].map(id => document.getElementById(id));
		why.textContent = `${isRefused ? "The key was not taken. " : ""}It is kept in this browser and sent as X-API-Key.`;
		field.value = "";
		dialog.onsubmit = ({ submitter }) => { if (submitter.value !== "cancel") setKey(field.value); };
		dialog.onclose = () => { asking = null; resolve(hasKey()); };
		if (isRefused) setKey("");
		dialog.showModal();
	});
}

function pause(milliseconds, signal) {
	return new Promise((resolve, reject) => {
		const timer = setTimeout(resolve, milliseconds);
		signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
	});
}

async function countDown(seconds, why, signal, onWait) {
	const until = Date.now() + seconds * 1000;
	for (let left = seconds, isNew = true; left > 0; left = (until - Date.now()) / 1000, isNew = false) {
		onWait(`${why} Trying again in ${Math.ceil(left)} s.`, isNew);
		await pause(Math.min(1, left) * 1000, signal);
	}
	onWait("");
}

const sentence = text => text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
const ADVICE = {
	401: "Run it again to give a key.", 413: "Shorten the article, or ask for less.", 422: "Mend that and run it again.",
	500: "The fault is the service's; its log has the reason.", 502: "Try another voice, or later.", 504: "Try another voice, or later.",
};

/** Problem details as what to tell a person. */
export function told({ errors = [], detail, title }, status) {
	const what = errors.map(error => `${error.field}: ${error.detail}`).join("; ") || detail || title || `the service answered with status ${status}`;
	return new Problem(`${sentence(what)} ${ADVICE[status] ?? "Run it again in a while."}`, status);
}

/**
 * The answer to a call, once it is a good one. 503 and 429 with Retry-After, and a service that is away, are tried again
 * where there is `onWait(sentence, isNew)`, which is told each second. A 401 asks for the key, unless `ask` is false.
 * Throws Problem.
 */
export async function call(path, { body, accept, signal, onWait, ask = true } = {}) {
	for (let tries = 1; ; tries++) {
		const sent = key, headers = {};
		if (body) headers["Content-Type"] = "application/json";
		if (accept) headers.Accept = accept;
		if (sent) headers["X-API-Key"] = sent;
		const triesAgain = onWait && tries < MOST_TRIES;
		let response;
		try {
			response = await fetch(new URL(path, base), { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
		} catch (error) {
			if (signal?.aborted) throw error;
			if (!triesAgain) throw new Problem("The service does not answer. Run it again in a while.");
			await countDown(Math.min(15, 2 * tries), "The service does not answer.", signal, onWait);
			continue;
		}
		if (response.ok) return response;
		const { status } = response, problem = await response.json().catch(() => ({}));
		// Meanwhile another call may have been given a key.
		if (status === 401 && ask && (key !== sent || await askForKey(sent !== ""))) continue;
		const seconds = status === 429 || status === 503 ? Number(response.headers.get("retry-after")) : 0;
		if (!(seconds > 0) || !triesAgain) throw told(problem, status);
		await countDown(seconds, sentence(problem.detail ?? "the service is busy"), signal, onWait);
	}
}

/** What is read next of an answer's body. Throws Problem where the connection breaks. */
export async function piece(reader, signal) {
	try { return await reader.read(); } catch (error) {
		throw signal.aborted ? error : new Problem("The connection broke before the end. Run it again.");
	}
}

/** The Server-Sent Events of a response: { name, data }, of what each `data` holds as JSON. */
export async function* events(response, signal) {
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const { value, done } = await piece(reader, signal);
		if (done) return;
		const blocks = (rest + value).split(/\r?\n\r?\n/);
		rest = blocks.pop();
		for (const block of blocks) {
			const name = /^event: ?(.*)/m.exec(block)?.[1], data = /^data: ?(.*)/m.exec(block)?.[1];
			if (data) yield { name, data: JSON.parse(data) };
		}
	}
}

/** Whether the text is in the clipboard now. */
export async function toClipboard(text) {
	try { await navigator.clipboard.writeText(text); return true; } catch { /* not over plain HTTP, nor in every frame */ }
	const field = document.createElement("textarea"), before = document.activeElement;
	field.value = text;
	document.body.append(field);
	field.select();
	const done = document.execCommand("copy");
	field.remove();
	before.focus();
	return done;
}

const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;

/** The call as it is typed into a shell. `file` is what the answer goes into. */
export function curl(path, body, accept, file) {
	const json = JSON.stringify(body), isLong = json.length > LONGEST_ARGUMENT;
	return [
		`curl -sN ${quoted(new URL(path, base).href)}`, "-H 'Content-Type: application/json'", accept && `-H ${quoted(`Accept: ${accept}`)}`,
		hasKey() && '-H "X-API-Key: $FACTORY_KEY"', file && `--output ${file}`, isLong ? `-d @- <<'JSON'\n${json}\nJSON` : `-d ${quoted(json)}`,
	].filter(Boolean).join(" \\\n  ");
}

/** A value as Python writes it; JSON's strings and numbers are Python's as well. */
function python(value) {
	if (typeof value === "boolean") return value ? "True" : "False";
	if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
	if (typeof value !== "object") return JSON.stringify(value);
	return `{${Object.entries(value).filter(([, item]) => item !== undefined).map(([name, item]) => `${python(name)}: ${python(item)}`).join(", ")}}`;
}

/** The same call with httpx. */
export function httpx(path, body, accept, file) {
	const headers = [accept && `"Accept": ${python(accept)}`, hasKey() && '"X-API-Key": os.environ["FACTORY_KEY"]'].filter(Boolean).join(", ");
	const end = file ? `with open("${file}", "wb") as file:\n        for piece in response.iter_bytes():\n            file.write(piece)` : "for line in response.iter_lines():\n        print(line)";
	return `${hasKey() ? "import os\n\n" : ""}import httpx\n\nwith httpx.stream(\n    "POST",\n    ${python(new URL(path, base).href)},\n    json=${python(body)},\n    headers={${headers}},\n    timeout=600,\n) as response:\n    ${end}`;
}
