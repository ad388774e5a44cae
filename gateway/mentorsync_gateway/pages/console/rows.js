// A list of rows that changes often: at most MAX_ROWS elements, and elements of rows that stay are kept.

export const MAX_ROWS = 200; // enough to read, and cheap to draw in each frame
const canHover = matchMedia("(hover: hover)");

export class Rows {
  #list;
  #make;
  #elements = new Map();
  #values = new Map();

  /** make(value) returns the element of a row. */
  constructor(list, make) {
    this.#list = list;
    this.#make = make;
  }

  /** While somebody points at the list or moves in it with the keyboard, rows must not move away from under them. */
  get isHeld() {
    return (canHover.matches && this.#list.matches(":hover")) || this.#list.querySelector(":focus-visible") !== null;
  }

  /** Shows these rows, from the top on. `rows` is a map from key to value. While held, rows only disappear. */
  show(rows) {
    const isHeld = this.isHeld && this.#elements.size > 0;
    for (const key of [...this.#elements.keys()].filter((shown) => !rows.has(shown))) this.#remove(key);
    let place = this.#list.firstElementChild;
    for (const [key, value] of rows) {
      if (isHeld && !this.#elements.has(key)) continue;
      const element = this.#element(key, value);
      if (isHeld) continue;
      if (element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(element, place);
    }
  }

  #element(key, value) {
    const shown = this.#elements.get(key);
    if (shown && this.#values.get(key) === value) return shown;
    const element = this.#make(value);
    if (shown) shown.replaceChildren(...element.childNodes);
    else this.#elements.set(key, element);
    this.#values.set(key, value);
    return shown ?? element;
  }

  #remove(key) {
    const element = this.#elements.get(key);
    const next = element.nextElementSibling ?? element.previousElementSibling;
    const focused = document.activeElement;
    if (element.contains(focused)) next?.querySelector(`button.${focused.className}`)?.focus(); // the same button there
    element.remove();
    this.#elements.delete(key);
    this.#values.delete(key);
  }
}
