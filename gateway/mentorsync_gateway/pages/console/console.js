// The console: shows the live feed, and makes calls. All it uses is the public REST API.

import { BASE, acknowledgeEvent, authorization, deleteEvent, makeKey, setToken, submitEvent } from "/console/calls.js";
import { LiveFeed } from "/console/feed.js";
import { Latency, Rate } from "/console/measures.js";
import { count, eventRow, find, mentorRow, setText, showChart, showStatuses } from "/console/rendering.js";
import { MAX_ROWS, Rows } from "/console/rows.js";
import { ConsoleState } from "/console/state.js";

const STATES = {
  connecting: "Connecting",
  present: "Reading the present state",
  "catching-up": "Catching up",
  live: "Live",
  lost: "Connection lost",
  refused: "Token required",
};
const RESETS = {
  EXPIRED: "started again, because the missed changes were purged",
  FOREIGN: "started again, because the database was restored or replaced",
  FILTER_CHANGED: "started again for other mentors",
};
const MENTOR_ID = /^mntr_[0-9A-Za-z]{1,40}$/u;

const state = new ConsoleState();
const rate = new Rate();
const latency = new Latency();
const mentorRows = new Rows(find("mentors"), (mentor) => mentorRow(mentor, isLive, () => watch(mentor.mentorId)));
const eventRows = new Rows(find("events"), (event) => eventRow(event, isLive, act));
let feed = null;
let watched = ""; // the one mentor that is watched, or none for all
let isLive = false;
let resetNote = "";
let isFrameAsked = false;
let lastSubmit = { text: "", key: "" };

function watch(mentorId) {
  feed?.close();
  watched = mentorId;
  resetNote = "";
  find("filter").value = mentorId;
  find("watching").hidden = !mentorId;
  setText("watched", mentorId);
  if (mentorId) find("mentor").value = mentorId;
  const query = mentorId ? `?mentor_id=${encodeURIComponent(mentorId)}` : "";
  feed = new LiveFeed(`${BASE}/watch${query}`, { headers: authorization, onEvent, onState });
}

function onEvent(type, data) {
  if (type === "start") state.clear();
  if (type === "snapshot") state.takeSnapshot(data);
  if (type === "present") data.changes.forEach((change) => state.takeChange(change));
  if (type === "reset") resetNote = RESETS[data.reason] ?? data.reason;
  if (type === "change") {
    state.takeChange(data);
    rate.count();
    latency.noteArrival(data.event.sync_event_id, performance.now());
  }
  askFrame();
}

function onState(name, detail) {
  isLive = name === "live";
  if (name === "lost") resetNote = "";
  const seconds = Math.ceil((detail?.retryMilliseconds ?? 0) / 1_000);
  const text = name === "lost" ? `${detail.reason}. Next attempt in ${seconds} s.` : resetNote;
  find("connection").dataset.state = name;
  setText("state", STATES[name]);
  setText("state-detail", text);
  find("retry").hidden = name !== "lost";
  if (name === "refused") askForToken(detail.status);
}

function askForToken(status) {
  setText("token-error", !authorization().authorization ? "" : status === 403
    ? "This token gives no access to these mentors."
    : "The token is invalid or has expired.");
  find("token-form").hidden = false;
  find("token").focus();
}

/** Draws once a frame, however many changes arrive. */
function askFrame() {
  if (isFrameAsked) return;
  isFrameAsked = true;
  requestAnimationFrame(() => {
    isFrameAsked = false;
    draw();
  });
}

function draw() {
  const text = find("filter").value.trim();
  const atLeast = state.isWhole ? "" : "+";
  const events = drawRows(eventRows, state.events, text, "events");
  drawRows(mentorRows, state.mentors, text, "mentors");
  const pending = [...state.events.values()].filter((event) => event.pending).length;
  setText("pending", count(pending) + atLeast);
  setText("mentor-count", count(state.mentors.size) + atLeast);
  setText("total", count(rate.total));
  setText("no-events", text ? "No pending event of this mentor." : "No pending events. Submit one, and it appears here.");
  find("no-events").hidden = events > 0;
  find("no-mentors").hidden = state.mentors.size > 0;
  showStatuses(state.mentors);
  if (!latency.count) return;
  setText("latency", `${latency.median.toFixed(0)} ms`);
  setText("latency-note", `median of ${latency.count} from this page, last ${latency.last.toFixed(0)} ms`);
}

/** Shows the newest rows that match the filter, and returns how many match. */
function drawRows(rows, map, text, name) {
  const matching = [...map].filter(([, value]) => value.mentorId.includes(text)).reverse();
  rows.show(new Map(matching.slice(0, MAX_ROWS)));
  const limit = matching.length > MAX_ROWS ? `latest ${MAX_ROWS} of ${count(matching.length)}` : "last changed first";
  setText(`${name}-note`, rows.isHeld ? "paused while you point at it" : limit);
  return matching.length;
}

async function act(action, event, button) {
  if (action === "choose") {
    watch(event.mentorId);
    return;
  }
  if (button.ariaBusy === "true") return;
  if (action === "delete" && !confirm(`Delete this event of ${event.mentorId}? This cannot be undone.`)) return;
  button.ariaBusy = "true"; // a disabled button would lose the keyboard's focus
  await attempt(() => (action === "delete" ? deleteEvent(event.id) : acknowledgeEvent(event.id)));
  button.ariaBusy = "false";
}

async function submit() {
  const [event_type, mentor_id, reason] = ["type", "mentor", "reason"].map((id) => find(id).value);
  const event = { event_type, mentor_id, reason };
  const text = JSON.stringify(event);
  if (text !== lastSubmit.text) lastSubmit = { text, key: makeKey() }; // another attempt keeps its key
  const sentAt = performance.now();
  const answer = await attempt(() => submitEvent(event, lastSubmit.key));
  if (!answer) return;
  lastSubmit = { text: "", key: "" };
  latency.noteSent(answer.sync_event_id, sentAt);
  const verdict = answer.accepted ? "accepted" : "not accepted";
  setText("result", `${answer.sync_event_id}: ${verdict}, ${mentor_id} is ${answer.resulting_status}`);
  askFrame();
}

/** Makes a call, shows its error, and returns its answer if there is one. */
async function attempt(call) {
  setText("error", "");
  try {
    return await call();
  } catch (error) {
    setText("result", "");
    setText("error", error.message);
    if (error.status === 401) askForToken(error.status);
    return null;
  }
}

function onSubmit(id, action) {
  find(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

onSubmit("submit-form", submit);
onSubmit("filter-form", () => {
  const mentorId = find("filter").value.trim();
  if (MENTOR_ID.test(mentorId) || !mentorId) watch(mentorId);
});
onSubmit("token-form", () => {
  setToken(find("token").value.trim());
  find("token").value = "";
  find("token-form").hidden = true;
  watch(watched);
});
find("filter").addEventListener("input", askFrame);
find("watch-all").addEventListener("click", () => watch(""));
find("retry").addEventListener("click", () => feed.retryNow());
for (const id of ["events", "mentors"]) {
  for (const type of ["pointerleave", "pointerenter", "focusout"]) find(id).addEventListener(type, askFrame);
}
addEventListener("online", () => feed.retryNow());
setInterval(() => {
  rate.tick();
  setText("rate", rate.mean < 10 ? rate.mean.toFixed(1) : count(Math.round(rate.mean)));
  showChart(rate.perSecond);
}, 1_000);
watch("");
