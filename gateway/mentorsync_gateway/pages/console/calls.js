// The calls of the public REST API that the page makes.

export const BASE = "/api/v1/mentor-status-sync/api/v1/mentor-status-sync";
const KEY_BYTES = 16;

let token = ""; // kept in memory alone: a reload forgets it

export function setToken(text) {
  token = text;
}

export function authorization() {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** An answer that is not 2xx, or no answer (status 0). */
export class CallError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function acknowledgeEvent(eventId) {
  return call("PUT", `/events/${encodeURIComponent(eventId)}`, { acknowledged: true });
}

export function deleteEvent(eventId) {
  return call("DELETE", `/events/${encodeURIComponent(eventId)}`);
}

/** Repeating a submit with the same key is safe. */
export function submitEvent(event, key) {
  return call("POST", "/events", event, { "idempotency-key": key });
}

export function makeKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(KEY_BYTES)); // randomUUID() is missing on plain http
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function call(method, path, body, headers = {}) {
  const type = body ? { "content-type": "application/json" } : {};
  const request = { method, headers: { ...type, ...authorization(), ...headers }, body: body && JSON.stringify(body) };
  const response = await fetch(BASE + path, request).catch(() => {
    throw new CallError(0, "The service cannot be reached. It is safe to try again.");
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new CallError(response.status, answer.message || `The service answered with ${response.status}.`);
  return answer;
}
