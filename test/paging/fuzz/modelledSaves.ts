import { PageflashError } from '../../../src/core/errors.js';
import type { SavedPages, SequenceState } from '../../../src/paging/saving.js';
import { assertSame, assertSameNumbers, assertThrows } from './fastAssert.js';
import { unchangedIfFull } from './managerRules.js';
import type { ModelSequence, PagingModel } from './pagingModel.js';

/** What is being saved: the state as it must stay, and what its pages must have all the while. */
interface OpenSave {
  readonly saved: SavedPages;
  readonly kept: Kept;
}

/** What was saved: the state, and the KV ids of the pages, with zeros behind the last token. */
interface Kept {
  readonly state: SequenceState;
  readonly contents: readonly (readonly number[])[];
  readonly isCut: boolean;
}

/** Saves of sequences of a model, held for a while and then kept, and restored from what was kept. */
export class ModelledSaves {
  readonly #model: PagingModel;
  readonly #open: OpenSave[] = [];
  readonly #kept: Kept[] = [];

  constructor(model: PagingModel) {
    this.#model = model;
  }

  /** Save a sequence that has nothing in flight. Copies that are pending must be made. */
  save(sequence: ModelSequence, isCut = false): void {
    const { id, tokens, salt, isPrivate, nComputed, nOnceComputed } = sequence;
    const saved = this.#model.manager.save({ sequence: id });
    assertSame('nOnceComputed of a save', saved.nOnceComputed, nOnceComputed);
    assertSame('isPrivate of a save', saved.isPrivate, isPrivate);
    this.#add({ saved, tokens, salt, nComputed, isCut });
  }

  /** Save what can be found of the tokens of a sequence. */
  saveFound({ tokens, salt }: ModelSequence): void {
    const { nTokens } = this.#model.router.find([...tokens, 0], salt);
    const saved = this.#model.manager.save({ tokens, salt });
    this.#add({ saved, tokens, salt, nComputed: nTokens, isCut: false });
  }

  #add(
    args: Pick<ModelSequence, 'tokens' | 'salt' | 'nComputed'> & { saved: SavedPages; isCut: boolean },
  ): void {
    const { saved, tokens, salt, nComputed, isCut } = args;
    const { options, kvIds, hostMemory } = this.#model;
    const { pageSize } = options;
    assertSameNumbers('tokens of a save', [...saved.tokens], tokens);
    assertSameNumbers('state of a save', [saved.nComputed, saved.salt], [nComputed, salt]);
    const ids = kvIds.of(salt, tokens).slice(0, nComputed);
    while (ids.length % pageSize > 0) ids.push(0);
    const { nOnceComputed, isPrivate, firstColumn, nKeptColumns } = saved;
    const columns = { firstColumn, nKeptColumns };
    const state = { tokens: saved.tokens, salt, isPrivate, nComputed, nOnceComputed, ...columns };
    const contents = savedColumns(state, pageSize).map((column) =>
      ids.slice(column * pageSize, (column + 1) * pageSize),
    );
    const kept = { state, contents, isCut };
    if (!saved.hostPages) {
      this.#open.push({ saved, kept });
      return;
    }
    this.#compare(saved.hostPages, hostMemory, kept);
    saved.release();
    this.#kept.push(kept);
  }

  /** What is being saved is still there, whatever has become of the sequence. */
  check(): void {
    const { pending, memory } = this.#model;
    for (const { saved, kept } of this.#open) {
      const pages = saved.pages.map((page) => pending.find(([, target]) => target === page)?.[0] ?? page);
      this.#compare(pages, memory, kept);
    }
  }

  #compare(pages: readonly number[], memory: Int32Array, { contents, state }: Kept): void {
    const { pageSize } = this.#model.options;
    assertSame('pages of a save', pages.length, contents.length);
    const columns = savedColumns(state, pageSize);
    contents.forEach((content, i) => {
      const start = pages[i]! * pageSize;
      const nUsed = Math.min(pageSize, state.nComputed - columns[i]! * pageSize);
      assertSameNumbers(
        `saved page ${i}`,
        [...memory.subarray(start, start + nUsed)],
        content.slice(0, nUsed),
      );
    });
  }

  /** Keep what a save holds, and let it go. */
  finish(pick: number): void {
    if (this.#open.length === 0) return;
    const [{ saved, kept }] = this.#open.splice(pick % this.#open.length, 1) as [OpenSave];
    saved.release();
    saved.release();
    assertThrows(PageflashError, () => saved.pages);
    this.#kept.push(kept);
  }

  /** Lets all go. Returns how many there were. */
  releaseAll(): number {
    const open = this.#open.splice(0);
    for (const { saved } of open) saved.release();
    return open.length;
  }

  /** A reset takes what is being saved. */
  forget(): void {
    for (const { saved } of this.#open) if (saved.nPages > 0) assertThrows(PageflashError, () => saved.pages);
    this.releaseAll();
  }

  /**
   * Restore one of what was saved, and write its pages. The caller commits. Undefined if nothing was saved, or the pool
   * is full.
   */
  restore(pick: number, avoided: ReadonlySet<number> = new Set()): RestoredSequence | undefined {
    const { manager, options, memory } = this.#model;
    const all = [...this.#kept, ...this.#open.map((open) => open.kept)];
    const kept = all[pick % Math.max(1, all.length)];
    if (!kept) return undefined;
    const { state, contents, isCut } = kept;
    const { nFound, nWrites, isFull } = this.#expected(state, avoided);
    const { free } = manager.snapshot();
    const restored = unchangedIfFull(manager, () => manager.restore(state));
    assertSame('full', restored === 'full', isFull);
    if (restored === 'full') return undefined;
    assertSame('pages to write', restored.writes.length, nWrites);
    for (const [i, page] of restored.writes) {
      assertSame(`page ${page} was free and is not avoided`, free.includes(page) && !avoided.has(page), true);
      memory.set(contents[i]!, page * options.pageSize);
    }
    const { tokens, salt, isPrivate, nOnceComputed } = state;
    const nComputed = Math.max(state.nComputed, nFound);
    const sequence: ModelSequence = {
      id: restored.sequence,
      salt,
      isPrivate: isPrivate || !options.isCaching,
      tokens: [...tokens],
      nComputed,
      nInFlight: 0,
      nOnceComputed: Math.max(nOnceComputed, nComputed),
      isSwapped: false,
      isCounted: true,
    };
    return { sequence, isCut };
  }

  /** What restoring must find, write and take. */
  #expected(state: SequenceState, avoided: ReadonlySet<number>) {
    const { tokens, salt, isPrivate, firstColumn } = state;
    const { manager, options, router } = this.#model;
    const { pageSize, isCaching } = options;
    const found = isPrivate || !isCaching ? { nTokens: 0, pages: [] } : router.find([...tokens], salt);
    const isUseful = found.nTokens > 0 && found.nTokens >= firstColumn * pageSize;
    const pages = isUseful ? found.pages : [];
    const nFound = isUseful ? found.nTokens : 0;
    const nWrites = savedColumns(state, pageSize).filter((column) => column >= nFound / pageSize).length;
    const { free } = manager.snapshot();
    const usable = free.filter((page) => !avoided.has(page) || pages.includes(page));
    const nRevived = pages.filter((page) => free.includes(page)).length;
    return { nFound, nWrites, isFull: nRevived + nWrites > usable.length };
  }
}

/** The columns whose pages a save has, in order. */
function savedColumns(
  { nComputed, firstColumn, nKeptColumns = 0 }: SequenceState,
  pageSize: number,
): number[] {
  return Array.from({ length: Math.ceil(nComputed / pageSize) }, (_, column) => column).filter(
    (column) => column < nKeptColumns || column >= firstColumn,
  );
}

/** A sequence that is restored, and whether it once lost computed tokens. */
export interface RestoredSequence {
  readonly sequence: ModelSequence;
  readonly isCut: boolean;
}
