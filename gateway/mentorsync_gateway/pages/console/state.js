// What the page knows: mentors and events, each in the order of its last change.

const MAX_KEPT = 20_000; // of each kind, so that the page's memory is bounded; the ones that changed first are dropped

export class ConsoleState {
  mentors = new Map(); // mentor_id: {mentorId, status, since}
  events = new Map(); // sync_event_id: {id, type, mentorId, time, accepted, pending}
  isWhole = true; // false once something was dropped

  clear() {
    this.mentors.clear();
    this.events.clear();
    this.isWhole = true;
  }

  /** Replaces all that is known of the mentor: after a long absence a snapshot comes without a reset. */
  takeSnapshot({ mentor_id, status, last_updated, pending_events }) {
    for (const [id, event] of this.events) if (event.mentorId === mentor_id) this.events.delete(id);
    this.#put(this.mentors, mentor_id, { mentorId: mentor_id, status, since: last_updated });
    for (const event of pending_events) this.#putEvent(event, true, true);
  }

  takeChange({ event, accepted, pending, deleted, mentor_status }) {
    this.#putMentor(event, accepted, mentor_status);
    if (deleted || event.acknowledged) this.events.delete(event.sync_event_id);
    else this.#putEvent(event, accepted, pending);
  }

  /** An event says since when only if it led to the present status: an older one may be pending still. */
  #putMentor({ mentor_id, server_timestamp, resulting_status }, accepted, status) {
    const known = this.mentors.get(mentor_id);
    const since = known?.status === status ? known.since : "";
    const isLater = accepted && resulting_status === status && server_timestamp > since; // UTC: sorts as text
    this.#put(this.mentors, mentor_id, { mentorId: mentor_id, status, since: isLater ? server_timestamp : since });
  }

  #putEvent({ sync_event_id, event_type, mentor_id, server_timestamp }, accepted, pending) {
    const event = { id: sync_event_id, type: event_type, mentorId: mentor_id, time: server_timestamp, accepted, pending };
    this.#put(this.events, sync_event_id, event);
  }

  #put(map, key, value) {
    map.delete(key); // a map keeps the order of insertion
    map.set(key, value);
    if (map.size <= MAX_KEPT) return;
    map.delete(map.keys().next().value);
    this.isWhole = false;
  }
}
