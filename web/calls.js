// How the desk speaks with the service: retries, keys, streams, and how each call is written for a shell and in Python.

export const base = new URL("..", import.meta.url);
const KEY = "factory-key";
const MOST_TRIES = 30;
// A single argument of a command may have 128 kB on Linux.
const LONGEST_ARGUMENT = 100_000;

/** An error as a sentence that says what to do. */
export class Problem extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}

/** Storage that may be full, or closed to a page in a frame. */
export const kept = {
  get(name) { try { return localStorage.getItem(name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(name, value); return true; } catch { return false; } },
  drop(name) { try { localStorage.removeItem(name); } catch { /* nothing was kept */ } },
};

let key = kept.get(KEY) ?? "";
let asking = null;
const keyListeners = [];

export const hasKey = () => key !== "";
export const onKey = listener => keyListeners.push(listener);
export function forgetKey() { setKey(""); }

function setKey(value) {
  key = value;
  if (value) kept.set(KEY, value); else kept.drop(KEY);
  keyListeners.forEach(listener => listener());
}

/** Asks for the key in a dialog; calls that meet a 401 at the same time share it. False: there is none. */
function askForKey(refused) {
  asking ??= new Promise(resolve => {
    const dialog = document.getElementById("key-dialog"), field = document.getElementById("key");
    const why = document.getElementById("key-why");
    const plain = "It is kept in this browser and sent as X-API-Key.";
    why.textContent = refused ? `The key was not taken. ${plain}` : plain;
    const end = () => { dialog.close(); asking = null; };
    const use = event => {
      event.preventDefault();
      const value = field.value.trim();
      if (!/^[\x21-\x7e]+$/.test(value)) { why.textContent = "A key has only letters, digits and signs of ASCII."; return; }
      field.value = "";
      end();
      setKey(value);
      resolve(true);
    };
    const cancel = event => { event.preventDefault(); end(); resolve(false); };
    document.getElementById("key-use").onclick = use;
    field.onkeydown = event => { if (event.key === "Enter") use(event); };
    document.getElementById("key-cancel").onclick = dialog.oncancel = cancel;
    dialog.showModal();
    field.focus();
  });
  return asking;
}

export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) { reject(signal.reason); return; }
    const stop = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

async function countDown(seconds, why, signal, onWait) {
  const until = Date.now() + seconds * 1000;
  for (let first = true; Date.now() < until; first = false) {
    const left = Math.max(1, Math.ceil((until - Date.now()) / 1000));
    onWait?.(`${why} Trying again in ${left} s.`, first);
    await pause(Math.min(1000, until - Date.now()), signal);
  }
  onWait?.("", false);
}

function retryAfter(response) {
  const told = response.headers.get("retry-after");
  if (told === null) return null;
  const seconds = /^\d+$/.test(told) ? Number(told) : (Date.parse(told) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(1, seconds) : null;
}

const sentence = text => {
  const trimmed = String(text ?? "").trim();
  return trimmed && trimmed[0].toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
};

/** Problem details as what to tell a person. */
export function told(problem, status) {
  const fields = (problem.errors ?? []).map(error => `${error.field}: ${error.detail}`).join("; ");
  const what = sentence(fields || problem.detail || problem.title) || `The service answered with status ${status}.`;
  const advice = {
    400: "Reload the page and try again.",
    401: "Run it again to give a key.",
    404: "Is the page as old as the service? Reload it.",
    413: "Shorten the article, or ask for less.",
    415: "Reload the page and try again.",
    422: "Mend that and run it again.",
    429: "Wait a moment and run it again.",
    500: "The fault is the service's; its log has the reason" + (problem.instance ? ` under ${problem.instance}.` : "."),
    502: "Try again later, or choose another voice.",
    503: "Try again in a while.",
    504: "Try again later, or choose another voice.",
  }[status];
  return new Problem(advice ? `${what} ${advice}` : what, status);
}

async function problemOf(response) {
  try { return await response.json(); } catch { return {}; }
}

/**
 * The answer to a call, once it is a good one. 503 and 429 with Retry-After, and a service that is away, are tried again;
 * `onWait(sentence, isNew)` is told each second. A 401 asks for the key, unless `ask` is false. Throws Problem.
 */
export async function call(path, { body, accept, signal, onWait, ask = true } = {}) {
  for (let tries = 1; ; tries++) {
    const sent = key;
    let response;
    try {
      response = await fetch(new URL(path, base), {
        method: body === undefined ? "GET" : "POST",
        headers: headersOf(body, accept, sent),
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      if (!onWait || tries >= MOST_TRIES) throw new Problem("The service does not answer. Is it running? Try again in a while.");
      await countDown(Math.min(15, 2 * tries), "The service does not answer.", signal, onWait);
      continue;
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status === 401 && ask) {
      // Another call may have been given a new key meanwhile.
      if (key !== sent || await askForKey(sent !== "")) continue;
    }
    const seconds = [429, 503].includes(response.status) ? retryAfter(response) : null;
    if (seconds === null || !onWait || tries >= MOST_TRIES) throw told(problem, response.status);
    await countDown(seconds, sentence(problem.detail) || "The service is busy.", signal, onWait);
  }
}

function headersOf(body, accept, sent) {
  return {
    ...(body !== undefined && { "Content-Type": "application/json" }),
    ...(accept && { Accept: accept }),
    ...(sent && { "X-API-Key": sent }),
  };
}

/** What is read next of an answer's body. Throws Problem where the connection breaks. */
export async function piece(reader, signal) {
  try { return await reader.read(); } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("The connection broke before the end. Run it again.");
  }
}

/** The Server-Sent Events of a response: { name, data }, of what each `data` holds as JSON. */
export async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await piece(reader, signal);
      rest += (value ?? "");
      const blocks = rest.split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = block.split(/\r?\n/).filter(line => line && !line.startsWith(":"));
        const of = name => fields.filter(line => line.startsWith(`${name}:`)).map(line => line.slice(name.length + 1).replace(/^ /, ""));
        const data = of("data").join("\n");
        if (data) yield { name: of("event")[0] ?? "message", data: JSON.parse(data) };
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Whether the text is in the clipboard now. */
export async function toClipboard(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* not over plain HTTP, nor in every frame */ }
  const field = document.createElement("textarea"), before = document.activeElement;
  field.className = "unseen";
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  return done;
}

const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;

/** The call as it is typed into a shell. `output` is the file that the answer goes to. */
export function curl(path, body, accept, output) {
  const json = JSON.stringify(body), long = json.length > LONGEST_ARGUMENT;
  const lines = [
    `curl -s${body.stream ? "N" : ""} ${quoted(new URL(path, base).href)}`,
    "-H 'Content-Type: application/json'",
    accept && `-H ${quoted(`Accept: ${accept}`)}`,
    hasKey() && '-H "X-API-Key: $FACTORY_KEY"',
    output && `--output ${output}`,
    long ? "-d @- <<'JSON'" : `-d ${quoted(json)}`,
  ];
  return lines.filter(Boolean).join(" \\\n  ") + (long ? `\n${json}\nJSON` : "");
}

/** A value as Python writes it. JSON's strings are strings in Python as well. */
function python(value) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, item]) => `${python(name)}: ${python(item)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** The same call with httpx. */
export function httpx(path, body, accept, output) {
  const headers = [accept && `"Accept": ${python(accept)}`, hasKey() && '"X-API-Key": os.environ["FACTORY_KEY"]'].filter(Boolean);
  const lines = [
    hasKey() && "import os\n",
    "import httpx",
    "",
    `url = ${python(new URL(path, base).href)}`,
    `body = ${python(body)}`,
    `headers = {${headers.join(", ")}}`,
    body.stream || output
      ? 'with httpx.stream("POST", url, json=body, headers=headers, timeout=600) as response:'
      : "response = httpx.post(url, json=body, headers=headers, timeout=600)",
    body.stream ? "    for line in response.iter_lines():\n        print(line)" : "",
    output && `    with open("${output}", "wb") as file:\n        for piece in response.iter_bytes():\n            file.write(piece)`,
    !body.stream && !output && "print(response.text)",
  ];
  return lines.filter(line => line || line === "").join("\n").replace(/\n\n+$/, "\n").replace(":\n\n", ":\n");
}
