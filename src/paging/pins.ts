import type { PageTable } from './pool/pageTable.js';

/** Names pages that are kept for as long as it takes. */
export type PinId = number;

/** Pages that are held besides those of sequences, and that only unpinning frees. */
export class Pins {
  readonly #tables = new Map<PinId, PageTable>();
  readonly #pages = new Set<number>();
  #nextId = 0;

  /** Pages that are pinned, each counted once. */
  get nPages(): number {
    return this.#pages.size;
  }

  has(page: number): boolean {
    return this.#pages.has(page);
  }

  tables(): Iterable<PageTable> {
    return this.#tables.values();
  }

  add(table: PageTable): PinId {
    this.#tables.set(this.#nextId, table);
    this.#addPages(table);
    return this.#nextId++;
  }

  /** The table of a pin, which is none from now on. */
  remove(pin: PinId): PageTable | undefined {
    const table = this.#tables.get(pin);
    this.#tables.delete(pin);
    if (table) this.recount();
    return table;
  }

  /** The tables have changed. */
  recount(): void {
    this.#pages.clear();
    for (const table of this.#tables.values()) this.#addPages(table);
  }

  #addPages(table: PageTable): void {
    for (let column = table.firstPage; column < table.nPages; column++) this.#pages.add(table.page(column));
  }
}
