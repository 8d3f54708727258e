import type { PageCopy } from '../../../src/paging/pool/pagePool.js';

/** An id for the keys and values of each token after its context: equal ids, equal keys and values. */
export class KvIds {
  readonly #ids = new Map<string, number>();

  /** [tokens.length]: ids, from 1 on */
  of(salt: number, tokens: readonly number[]): number[] {
    let before = `salt ${salt}`;
    return tokens.map((token) => {
      const name = `${before}, ${token}`;
      let id = this.#ids.get(name);
      if (id === undefined) {
        id = this.#ids.size + 1;
        this.#ids.set(name, id);
      }
      before = String(id);
      return id;
    });
  }
}

/** Copy pages of `from` to pages of `to`, all at once as a kernel does: sources are read before anything is written. */
export function copyPages(
  copies: readonly PageCopy[],
  pageSize: number,
  from: Int32Array,
  to: Int32Array,
): void {
  const sources = copies.map(([source]) => from.slice(source * pageSize, (source + 1) * pageSize));
  copies.forEach(([, target], i) => to.set(sources[i]!, target * pageSize));
}
