/** The element with this id, which the page has. */
export function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

export function setText(id: string, text: string): void {
  element(id).textContent = text;
}

/** Shows an element with some text, or hides it where there is none. */
export function setNote(id: string, text: string | undefined): void {
  element(id).hidden = text === undefined;
  setText(id, text ?? '');
}
