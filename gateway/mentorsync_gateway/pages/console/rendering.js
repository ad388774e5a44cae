// Elements of the page. Text from the service is only ever set as text, never as HTML.

import { RATE_SECONDS } from "/console/measures.js";

const STATUSES = ["active", "paused", "inactive"];
const CHART_HEIGHT = 24;
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const number = new Intl.NumberFormat();

export function find(id) {
  return document.getElementById(id);
}

export function setText(id, text) {
  const element = find(id);
  if (element.textContent !== text) element.textContent = text;
}

export function count(value) {
  return number.format(value);
}

/** A row of the list of events. `act(name, event, button)` is called for "acknowledge", "delete" and "choose". */
export function eventRow(event, isFresh, act) {
  const verdict = event.accepted ? "accepted" : "not accepted";
  const name = event.type.replace("MentorEvent", "");
  const actions = make("span", "actions");
  for (const [label, action] of [["Acknowledge", "acknowledge"], ["Delete", "delete"]]) {
    const button = make("button", action, label);
    button.type = "button";
    button.setAttribute("aria-label", `${label} ${name} of ${event.mentorId}`);
    button.addEventListener("click", () => act(action, event, button));
    actions.append(button);
  }
  const row = make("li", isFresh ? "fresh" : "");
  const choose = () => act("choose", event);
  const type = make("span", "event-type", name);
  type.title = `${event.type} ${event.id}`;
  row.append(time(event.time), type, mentorButton(event.mentorId, choose), tag(verdict), actions);
  return row;
}

export function mentorRow(mentor, isFresh, choose) {
  const row = make("li", isFresh ? "fresh" : "");
  const since = time(mentor.since);
  since.title ||= "not known to this page"; // its last accepted event is acknowledged or deleted
  row.append(mentorButton(mentor.mentorId, choose), tag(mentor.status), since);
  return row;
}

export function showStatuses(mentors) {
  const counts = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  for (const { status } of mentors.values()) counts[status] += 1;
  for (const status of STATUSES) {
    document.querySelector(`.bar .${status}`).style.width = `${(100 * counts[status]) / Math.max(mentors.size, 1)}%`;
  }
  const parts = STATUSES.map((status) => `${count(counts[status])} ${status}`);
  setText("mentor-note", mentors.size ? parts.join(" · ") : "none yet");
}

export function showChart(perSecond) {
  const highest = Math.max(1, ...perSecond);
  const points = perSecond.map((value, second) => {
    const x = (second * RATE_SECONDS) / (RATE_SECONDS - 1);
    return `${x.toFixed(2)} ${(CHART_HEIGHT * (1 - value / highest)).toFixed(2)}`;
  });
  const curve = `M${points.join("L")}`;
  document.querySelector("#chart .curve").setAttribute("d", curve);
  document.querySelector("#chart .area").setAttribute("d", `${curve}V${CHART_HEIGHT}H0Z`);
}

function make(name, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

function tag(text) {
  return make("span", `tag ${text.replace(" ", "-")}`, text);
}

function mentorButton(mentorId, choose) {
  const button = make("button", "mentor-id", mentorId);
  button.type = "button";
  button.title = `Watch only ${mentorId}`;
  button.addEventListener("click", choose);
  return button;
}

function time(text) {
  const element = make("time", "", "–");
  if (!text) return element;
  const moment = new Date(text);
  const isToday = moment.toDateString() === new Date().toDateString();
  element.textContent = isToday ? clock.format(moment) : `${day.format(moment)}, ${clock.format(moment).slice(0, 5)}`;
  element.dateTime = text;
  element.title = full.format(moment);
  return element;
}
