import type { Call } from '../check/call.js';
import { checkNames, namesOf } from '../core/checkArguments.js';
import type { PageManager } from '../paging/pageManager.js';
import type { RestoredPages } from '../paging/restoring.js';
import type { SequenceId } from '../paging/sequenceRegistry.js';
import { SavedSequence } from './savedSequence.js';

export interface RestoreSequenceArgs {
  /** The manager of the cache's pages. If a `StepPlanner` runs it, the sequence is one of the planner's afterwards. */
  readonly pages: PageManager;
  /** What `readSaved` has given. */
  readonly saved: SavedSequence;
  /** As in `PageManager.add`. Default: as it was saved */
  readonly salt?: number | undefined;
  /** Likewise. */
  readonly isPrivate?: boolean | undefined;
  /** As in `StepPlanner.add`, if there is a planner. Default 0 */
  readonly priority?: number | undefined;
  /** Stops writing; `restore` rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const NAMES = namesOf<RestoreSequenceArgs>({
  pages: true,
  saved: true,
  salt: true,
  isPrivate: true,
  priority: true,
  signal: true,
});

/** What restoring asks of a cache. */
export interface RestoreTarget {
  /** Throws if nothing can be written any more. */
  assertUsable(): void;
  write(pages: readonly number[], contents: readonly Uint8Array[]): void;
  /** Resolves when everything is written. */
  done(): Promise<void>;
}

export function checkRestore(call: Call, args: RestoreSequenceArgs): void {
  checkNames(call.name, args, NAMES);
  const { saved, pages, priority, signal } = args;
  if (!(saved instanceof SavedSequence)) call.refuseValue('saved', 'what readSaved has given', saved);
  if (priority !== undefined && !Number.isFinite(priority))
    call.refuseValue('priority', 'a finite number', priority);
  if (priority !== undefined && !pages.planner)
    call.refuse('argument', 'priority is for the sequences of a StepPlanner, but pages has none.');
  if (signal !== undefined && typeof signal?.throwIfAborted !== 'function')
    call.refuseValue('signal', 'an AbortSignal', signal);
  signal?.throwIfAborted();
}

/** Restores a sequence: from memory before it returns, from a blob piece by piece. */
export function restoreSequence(
  call: Call,
  args: RestoreSequenceArgs,
  target: RestoreTarget,
): Promise<SequenceId | 'full'> {
  const { pages, saved } = args;
  const { tokens, nComputed, nOnceComputed, firstColumn, nKeptColumns } = saved;
  const { salt = saved.salt, isPrivate = saved.isPrivate } = args;
  const state = { tokens, salt, isPrivate, nComputed, nOnceComputed, firstColumn, nKeptColumns };
  const restored = call.inPlaceOf('PageManager.restore', () => pages.restore(state));
  if (restored === 'full') return Promise.resolve('full');
  return new Restoring(call, args, target, restored).run();
}

/** Writes the pages of a sequence that is in flight until all are there. */
class Restoring {
  readonly #call: Call;
  readonly #args: RestoreSequenceArgs;
  readonly #target: RestoreTarget;
  readonly #sequence: SequenceId;
  readonly #nInFlight: number;
  /** Where each saved page goes; undefined where it is found in the cache. */
  readonly #targets: ReadonlyMap<number, number>;

  constructor(call: Call, args: RestoreSequenceArgs, target: RestoreTarget, restored: RestoredPages) {
    this.#call = call;
    this.#args = args;
    this.#target = target;
    this.#sequence = restored.sequence;
    this.#nInFlight = args.pages.sequence(restored.sequence).nInFlight;
    this.#targets = new Map(restored.writes);
  }

  run(): Promise<SequenceId> {
    const { pagesPerPiece } = this.#args.saved.description;
    const pieces = [...new Set(Array.from(this.#targets.keys(), (page) => Math.floor(page / pagesPerPiece)))];
    return this.#unlessFailed(() => {
      for (const index of pieces) {
        const piece = this.#args.saved.piece(this.#call, index);
        if (piece instanceof Promise) return this.#writeLater(pieces);
        this.#write(index, piece);
      }
      return Promise.resolve(this.#end());
    });
  }

  async #writeLater(pieces: readonly number[]): Promise<SequenceId> {
    const { saved, signal } = this.#args;
    // A piece is read while the one before is on its way to the GPU.
    let written = Promise.resolve();
    for (const index of pieces) {
      const piece = await saved.piece(this.#call, index);
      await written;
      signal?.throwIfAborted();
      this.#write(index, piece);
      written = this.#target.done();
      written.catch(() => undefined);
    }
    await written;
    return this.#end();
  }

  #write(index: number, piece: Uint8Array): void {
    this.#assertThere();
    this.#target.assertUsable();
    const { description } = this.#args.saved;
    const first = index * description.pagesPerPiece;
    const pageBytes = piece.length / Math.min(description.pagesPerPiece, this.#args.saved.nPages - first);
    const pages: number[] = [];
    const contents: Uint8Array[] = [];
    for (let at = 0; at < piece.length; at += pageBytes) {
      const page = this.#targets.get(first + at / pageBytes);
      if (page === undefined) continue;
      pages.push(page);
      contents.push(piece.subarray(at, at + pageBytes));
    }
    this.#target.write(pages, contents);
  }

  #end(): SequenceId {
    const { pages, priority } = this.#args;
    this.#assertThere();
    const sequence = this.#sequence;
    pages.commit(sequence);
    pages.planner?.adopt(priority === undefined ? { sequence } : { sequence, priority });
    return sequence;
  }

  /** Its pages are others' once the manager was reset. */
  #assertThere(): void {
    if (this.#args.pages.sequence(this.#sequence).nInFlight !== this.#nInFlight)
      this.#call.refuse('argument', 'pages was reset meanwhile. Restore the sequence again.');
  }

  /** Runs, and gives the pages back if that fails, at once or later. */
  #unlessFailed<T>(run: () => Promise<T>): Promise<T> {
    const giveUp = (error: unknown): never => {
      this.#args.pages.release(this.#sequence);
      throw error;
    };
    try {
      return run().catch(giveUp);
    } catch (error) {
      return giveUp(error);
    }
  }
}
