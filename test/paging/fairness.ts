import type { PageSnapshot } from '../../src/paging/pageSnapshot.js';
import type { Step } from '../../src/paging/planner/step.js';
import type { Engine, EngineSequence } from './engine.js';
import { isResting } from './model.js';
import { mustBe } from './must.js';

interface Plan {
  /** The sequences before the step was planned. */
  readonly before: readonly EngineSequence[];
  readonly snapshot: PageSnapshot;
  /** Those that could go on, had they all pages to themselves that are not pinned. */
  readonly fitting: ReadonlySet<number>;
  readonly step: Step;
  readonly engine: Engine;
}

/** Whether a sequence wants to go on, and could where nothing else has pages but pins. */
export function fits(sequence: EngineSequence, snapshot: PageSnapshot, engine: Engine): boolean {
  if (isResting(sequence)) return false;
  const { pageSize, window } = engine.options;
  const { id, tokens, nComputed, salt, isPrivate, isSwapped } = sequence;
  const pinned = new Set(snapshot.pins.flat().filter((page) => page >= 0));
  const nLeft = snapshot.nPages - pinned.size;
  const nColumns = Math.ceil(tokens.length / pageSize);
  if (window >= 0 && 1 + Math.max(1, Math.ceil(window / pageSize)) <= nLeft) return true;
  const { pages, hostPages } = snapshot.sequences.find((own) => own.id === id)!;
  const found = engine.router.find(tokens, salt);
  let nBehind = pages.filter((page) => page < 0).length;
  let own = pages.slice(nBehind, Math.floor(nComputed / pageSize));
  if (isSwapped) {
    nBehind = Math.ceil(nComputed / pageSize) - hostPages.length;
    own = isPrivate ? [] : engine.router.path(tokens.slice(0, nComputed), salt).slice(nBehind);
  } else if (nComputed === 0 && !isPrivate) {
    nBehind = found.nTokens / pageSize - found.pages.length;
    own = [...found.pages];
  }
  // One that has to copy its last page takes one more, or begins again.
  const last = pages.at(-1) ?? -1;
  const isCopied = nComputed % pageSize > 0 && snapshot.published.some(({ page }) => page === last);
  if (isCopied && !pinned.has(last) && nBehind > 0) nBehind--;
  return nColumns - nBehind - own.filter((page) => pinned.has(page)).length <= nLeft;
}

/** What gave way did so for one that ranks before it, or as it could not go on; for something; and to the host if it could. */
export function checkGivingWay({ before, snapshot, fitting, step, engine }: Plan): void {
  const { sequences } = engine;
  const now = (id: number) => sequences.find((sequence) => sequence.id === id)!;
  const inStep = new Set(step.sequences);
  const losers = before.filter(
    ({ id, nComputed, isSwapped }) =>
      nComputed > 0 && !isSwapped && (now(id).isSwapped || (now(id).nComputed === 0 && !inStep.has(id))),
  );
  const isBefore = (one: EngineSequence, other: EngineSequence) =>
    one.priority > other.priority || (one.priority === other.priority && one.arrival < other.arrival);
  for (const loser of losers) {
    const isInOrder = [...inStep].some((id) => isBefore(now(id), loser));
    mustBe(`sequence ${loser.id} gave way to one before it`, isInOrder || !fitting.has(loser.id), true);
    const { preempt } = engine.options;
    // What came back in this step has left room only after it.
    const nHostFree = snapshot.freeHostPages.length - step.swapsOut.length;
    const nHeld = pagesOf(loser.id, snapshot).length;
    const isKept = now(loser.id).isSwapped || preempt === 'recompute' || nHeld > nHostFree;
    mustBe(`sequence ${loser.id} is kept on the host`, isKept, true);
  }
  for (const { id, isSwapped, nComputed } of before)
    if (isSwapped) mustBe(`what sequence ${id} has on the host`, now(id).nComputed, nComputed);
  checkGain(losers, snapshot, step);
}

/** Each of those that gave way had a page that nothing else had; but for the last page of one that writes to it now. */
function checkGain(losers: readonly EngineSequence[], snapshot: PageSnapshot, step: Step): void {
  const lost = losers.flatMap(({ id }) => pagesOf(id, snapshot));
  const nLost = (page: number) => lost.filter((other) => other === page).length;
  const written = new Set(Array.from(step.slotMapping, (slot) => Math.floor(slot / snapshot.pageSize)));
  for (const { id } of losers) {
    const hasGain = pagesOf(id, snapshot).some(
      (page) => snapshot.counts[page]! - nLost(page) === 0 || written.has(page),
    );
    mustBe(`sequence ${id} gave way for something`, hasGain, true);
  }
  // What is admitted is promised pages that it takes only later.
  const hadPages = (id: number) =>
    snapshot.sequences.find((sequence) => sequence.id === id)!.pages.length > 0;
  if (losers.length === 0 || !Array.from(step.sequences).every(hadPages)) return;
  const kept = new Set(snapshot.sequences.flatMap(({ pages }) => pages).filter((page) => nLost(page) === 0));
  const taken = [...new Set(step.blockTable)].filter((page) => page >= 0 && !kept.has(page));
  // Of those that share a last page one writes to it in place, which a plan does not count upon.
  const nShared = new Set(step.copies.map(([source]) => source)).size;
  const hasShared = [...written].some((page) => nLost(page) > 0);
  mustBe(
    'pages taken are more than were free',
    taken.length + nShared > snapshot.free.length || hasShared,
    true,
  );
}

function pagesOf(id: number, { sequences }: PageSnapshot): number[] {
  return sequences.find((sequence) => sequence.id === id)!.pages.filter((page) => page >= 0);
}
