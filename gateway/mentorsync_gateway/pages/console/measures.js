// What the page can measure itself: how fast changes come, and how long its own submits take to come back.

export const RATE_SECONDS = 60; // in the chart
const MEAN_SECONDS = 5; // over which the shown rate is averaged
const MAX_LATENCIES = 20;
const MAX_ARRIVALS = 1_000; // changes that may arrive before the answer to the submit that made them

export class Rate {
  total = 0;
  perSecond = new Array(RATE_SECONDS).fill(0);
  #current = 0;

  count() {
    this.total += 1;
    this.#current += 1;
  }

  /** Ends a second. */
  tick() {
    this.perSecond.shift();
    this.perSecond.push(this.#current);
    this.#current = 0;
  }

  get mean() {
    return this.perSecond.slice(-MEAN_SECONDS).reduce((sum, count) => sum + count, 0) / MEAN_SECONDS;
  }
}

/** Milliseconds from the sending of a submit to the arrival of its event in the feed. Either may be noted first. */
export class Latency {
  #sent = new Map();
  #arrived = new Map();
  #latencies = [];

  noteSent(eventId, time) {
    put(this.#sent, eventId, time);
    this.#match(eventId);
  }

  noteArrival(eventId, time) {
    if (this.#arrived.has(eventId)) return; // a later change of the same event
    put(this.#arrived, eventId, time);
    this.#match(eventId);
  }

  get count() {
    return this.#latencies.length;
  }

  get last() {
    return this.#latencies.at(-1);
  }

  get median() {
    return [...this.#latencies].sort((a, b) => a - b)[Math.floor(this.count / 2)];
  }

  #match(eventId) {
    if (!this.#sent.has(eventId) || !this.#arrived.has(eventId)) return;
    this.#latencies.push(this.#arrived.get(eventId) - this.#sent.get(eventId));
    this.#latencies.splice(0, this.count - MAX_LATENCIES);
    this.#sent.delete(eventId);
  }
}

function put(map, key, value) {
  map.set(key, value);
  if (map.size > MAX_ARRIVALS) map.delete(map.keys().next().value);
}
