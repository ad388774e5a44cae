// The live feed of MentorStatusSync for web pages, without dependencies. Copy this file to use it elsewhere.
// It reads server-sent events with fetch(), because an EventSource cannot send a token.

const MAX_SILENCE_MILLISECONDS = 66_000; // three heartbeats, each at most 22 s after the last message
const RETRY_MILLISECONDS = 3_000; // until the service names a pause
const MAX_RETRY_MILLISECONDS = 30_000;

/** Parses an event stream that comes in pieces: https://html.spec.whatwg.org/multipage/server-sent-events.html */
export class EventStreamParser {
  lastEventId = "";
  retryMilliseconds = null;
  #text = "";
  #id = "";
  #type = "";
  #data = [];

  /** Takes the next piece of text, and returns the events that are complete: {type, data}. */
  push(text) {
    this.#text += text;
    const lines = this.#text.split(/\r\n|\n|\r(?!$)/); // a last \r may be the first half of \r\n
    this.#text = lines.pop();
    return lines.map((line) => this.#readLine(line)).filter((event) => event !== null);
  }

  #readLine(line) {
    if (line === "") return this.#finishEvent();
    const [, name, value] = /^([^:]*):? ?(.*)$/su.exec(line);
    if (name === "data") this.#data.push(value);
    if (name === "event") this.#type = value;
    if (name === "id" && !value.includes("\0")) this.#id = value;
    if (name === "retry" && /^[0-9]+$/u.test(value)) this.retryMilliseconds = Number(value);
    return null;
  }

  #finishEvent() {
    this.lastEventId = this.#id; // also without data: a heartbeat moves the id alone
    const event = this.#data.length ? { type: this.#type || "message", data: this.#data.join("\n") } : null;
    this.#type = "";
    this.#data = [];
    return event;
  }
}

/** The service refused the stream. `retryAfterMilliseconds` is 0 if it named no pause. */
class RefusedError extends Error {
  constructor(response) {
    super(`The service answered with ${response.status}`);
    this.status = response.status;
    this.retryAfterMilliseconds = 1_000 * (Number(response.headers.get("retry-after")) || 0);
  }
}

/**
 * Follows the feed until close(), and resumes after each lost connection without a missing change.
 *
 * onEvent(type, data) gets each event of the service, and "start" before a present state: what is known is then void.
 * onState(name, detail) gets "connecting", "present", "catching-up", "live", "refused" (401 or 403: no further attempt),
 * or "lost" with {reason, retryMilliseconds}.
 */
export class LiveFeed {
  #url;
  #headers;
  #onEvent;
  #onState;
  #cursor = "";
  #retryMilliseconds = RETRY_MILLISECONDS;
  #failures = 0;
  #endReason = "";
  #isClosed = false;
  #attempt = new AbortController();
  #endPause = () => {};

  constructor(url, { headers = () => ({}), onEvent, onState }) {
    this.#url = url;
    this.#headers = headers;
    this.#onEvent = onEvent;
    this.#onState = onState;
    this.#run();
  }

  close() {
    this.#isClosed = true;
    this.#attempt.abort();
    this.#endPause();
  }

  retryNow() {
    this.#endPause();
  }

  async #run() {
    while (!this.#isClosed) {
      const error = await this.#readStream().then(() => new Error(this.#endReason), (reason) => reason);
      if (this.#isClosed) return;
      if (error.status === 401 || error.status === 403) {
        this.#onState("refused", { status: error.status });
        return;
      }
      if (error.status === 400) this.#cursor = ""; // the service does not know this cursor: begin again
      await this.#pause(error);
    }
  }

  async #readStream() {
    this.#onState("connecting");
    this.#endReason = "The connection ended";
    this.#attempt = new AbortController();
    const silence = setTimer(() => this.#attempt.abort(new Error("Three heartbeats were missed")));
    try {
      const resume = this.#cursor ? { "last-event-id": this.#cursor } : {};
      const headers = { accept: "text/event-stream", ...this.#headers(), ...resume };
      const response = await fetch(this.#url, { headers, cache: "no-store", signal: this.#attempt.signal });
      if (this.#isClosed) return;
      if (!response.ok) throw new RefusedError(response);
      this.#begin();
      const parser = new EventStreamParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        silence.restart();
        this.#take(parser, piece.value);
      }
    } finally {
      silence.stop();
      this.#attempt.abort(); // otherwise, after an unreadable event, the stream stays open during the next one
    }
  }

  #begin() {
    if (this.#cursor) {
      this.#onState("catching-up");
      return;
    }
    this.#onEvent("start", {});
    this.#onState("present");
  }

  #take(parser, text) {
    this.#failures = 0;
    for (const { type, data } of parser.push(text)) {
      if (this.#isClosed) return; // onEvent may close the feed
      this.#deliver(type, JSON.parse(data));
    }
    this.#cursor = parser.lastEventId || this.#cursor;
    this.#retryMilliseconds = parser.retryMilliseconds ?? this.#retryMilliseconds;
  }

  #deliver(type, data) {
    if (type === "reset") {
      this.#cursor = ""; // the present state follows, and a loss during it begins from the start
      this.#onEvent("start", {});
      this.#onState("present");
    }
    if (type === "going-away") this.#endReason = "The service ended the stream, as before a restart";
    this.#onEvent(type, data);
    if (type === "current") this.#onState("live");
  }

  async #pause(error) {
    const pause = Math.min(this.#retryMilliseconds * 2 ** this.#failures, MAX_RETRY_MILLISECONDS);
    const retryMilliseconds = Math.max(pause, error.retryAfterMilliseconds ?? 0);
    this.#failures += 1;
    this.#onState("lost", { reason: error.message, retryMilliseconds });
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, retryMilliseconds);
      this.#endPause = () => { clearTimeout(timer); resolve(); };
    });
  }
}

function setTimer(action) {
  let timer = setTimeout(action, MAX_SILENCE_MILLISECONDS);
  return {
    stop: () => clearTimeout(timer),
    restart: () => { clearTimeout(timer); timer = setTimeout(action, MAX_SILENCE_MILLISECONDS); },
  };
}
