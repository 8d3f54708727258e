import type { PageSnapshot } from '../../../src/paging/pageSnapshot.js';
import type { Step } from '../../../src/paging/planner/step.js';
import { assertSame, assertSameNumbers } from './fastAssert.js';
import { isResting, type EngineModel, type EngineSequence } from './pagingModel.js';

/** A step is within its limits, and has the tokens in flight and the samples of its sequences. */
export function checkStep(step: Step, engine: EngineModel): void {
  const { maxTokens, maxSequences } = engine.options;
  assertSame('tokens within the budget', step.nNewTokens <= maxTokens && step.nNewTokens > 0, true);
  assertSame('sequences within the limit', step.nSequences <= maxSequences && step.nSequences > 0, true);
  const rows = sequencesOf(step, engine);
  for (const row of rows) assertSame(`sequence ${row.id} at rest is in a step`, isResting(row), false);
  const inFlight = rows.flatMap(({ tokens, nComputed, nInFlight }) =>
    tokens.slice(nComputed, nComputed + nInFlight),
  );
  assertSameNumbers('tokens of the step', [...step.tokens], inFlight);
  const ended = rows.flatMap(({ nComputed, nInFlight, tokens }, b) =>
    nComputed + nInFlight === tokens.length ? [b] : [],
  );
  assertSameNumbers(
    'sampled',
    [...step.sampled],
    ended.map((b) => step.sequences[b]!),
  );
  assertSameNumbers(
    'sampledRows',
    [...step.sampledRows],
    ended.map((b) => step.cuSeqlensQ[b + 1]! - 1),
  );
}

/** Write the KV ids of the new tokens, then check that each token sees those of its own sequence. */
export function computeStep(step: Step, engine: EngineModel): void {
  const { options, memory, kvIds } = engine;
  const { pageSize, window, firstKeys } = options;
  const idsOf = sequencesOf(step, engine).map(({ salt, tokens }) => kvIds.of(salt, tokens));
  const rowsOf = (b: number) =>
    Array.from({ length: step.cuSeqlensQ[b + 1]! - step.cuSeqlensQ[b]! }, (_, i) => step.cuSeqlensQ[b]! + i);
  idsOf.forEach((ids, b) => {
    for (const row of rowsOf(b)) memory[step.slotMapping[row]!] = ids[step.tokenPositions[row]!]!;
  });
  idsOf.forEach((ids, b) => {
    for (const row of rowsOf(b)) {
      const position = step.tokenPositions[row]!;
      for (let key = 0; key <= position; key++) {
        if (window >= 0 && key < position - window && key >= firstKeys) continue;
        const page = step.blockTable[b * step.tableWidth + Math.floor(key / pageSize)]!;
        const seen = page < 0 ? 'no page' : memory[page * pageSize + (key % pageSize)];
        assertSame(`key ${key} that token ${position} of sequence ${step.sequences[b]} sees`, seen, ids[key]);
      }
    }
  });
}

function sequencesOf(step: Step, { sequences }: EngineModel): EngineSequence[] {
  return Array.from(step.sequences, (id) => sequences.find((sequence) => sequence.id === id)!);
}

interface PlannedStep {
  /** The sequences before the step was planned. */
  readonly before: readonly EngineSequence[];
  readonly snapshot: PageSnapshot;
  /** Sequences that could go on if nothing else had pages but pins. */
  readonly fitting: ReadonlySet<number>;
  readonly step: Step;
  readonly engine: EngineModel;
}

/** Whether a sequence has something to compute, and would fit if nothing else had pages but pins. */
export function fits(sequence: EngineSequence, snapshot: PageSnapshot, engine: EngineModel): boolean {
  if (isResting(sequence)) return false;
  const { pageSize, window, firstKeys } = engine.options;
  const { id, tokens, nComputed, salt, isPrivate, isSwapped } = sequence;
  const pinned = new Set(snapshot.pins.flat().filter((page) => page >= 0));
  const nLeft = snapshot.nPages - pinned.size;
  const nColumns = Math.ceil(tokens.length / pageSize);
  const nKept = Math.ceil(firstKeys / pageSize);
  if (window >= 0 && 1 + Math.max(1, Math.ceil(window / pageSize)) + nKept <= nLeft) return true;
  const { pages, hostPages } = snapshot.sequences.find((own) => own.id === id)!;
  const found = engine.router.find(tokens, salt);
  let nBehind = pages.filter((page) => page < 0).length;
  let own = pages.slice(0, Math.floor(nComputed / pageSize)).filter((page) => page >= 0);
  if (isSwapped) {
    nBehind = Math.ceil(nComputed / pageSize) - hostPages.length;
    const path = isPrivate ? [] : engine.router.path(tokens.slice(0, nComputed), salt);
    own = nBehind === 0 ? path : path.filter((_, column) => column < nKept || column >= nKept + nBehind);
  } else if (nComputed === 0 && !isPrivate) {
    nBehind = found.nTokens / pageSize - found.pages.length;
    own = [...found.pages];
  }
  // If it must copy its last page it takes one more, or starts again.
  const last = pages.at(-1) ?? -1;
  const isCopied = nComputed % pageSize > 0 && snapshot.published.some(({ page }) => page === last);
  if (isCopied && !pinned.has(last) && nBehind > 0) nBehind--;
  return nColumns - nBehind - own.filter((page) => pinned.has(page)).length <= nLeft;
}

/** Sequences are preempted for one that ranks before them, or if they cannot go on; with a gain; and to the host if possible. */
export function checkPreemption({ before, snapshot, fitting, step, engine }: PlannedStep): void {
  const { sequences } = engine;
  const now = (id: number) => sequences.find((sequence) => sequence.id === id)!;
  const inStep = new Set(step.sequences);
  const preempted = before.filter(
    ({ id, nComputed, isSwapped }) =>
      nComputed > 0 && !isSwapped && (now(id).isSwapped || (now(id).nComputed === 0 && !inStep.has(id))),
  );
  const isBefore = (one: EngineSequence, other: EngineSequence) =>
    one.priority > other.priority || (one.priority === other.priority && one.arrival < other.arrival);
  for (const sequence of preempted) {
    const isInOrder = [...inStep].some((id) => isBefore(now(id), sequence));
    assertSame(
      `sequence ${sequence.id} was preempted for one before it`,
      isInOrder || !fitting.has(sequence.id) || mustStartAnew(sequence, snapshot),
      true,
    );
    const { preempt } = engine.options;
    // What came back in this step has left room only after it.
    const nHostFree = snapshot.freeHostPages.length - step.swapsOut.length;
    const nHeld = pagesOf(sequence.id, snapshot).length;
    const isKept = now(sequence.id).isSwapped || preempt === 'recompute' || nHeld > nHostFree;
    assertSame(`sequence ${sequence.id} is kept on the host`, isKept, true);
  }
  for (const { id, isSwapped, nComputed } of before)
    if (isSwapped) assertSame(`what sequence ${id} has on the host`, now(id).nComputed, nComputed);
  checkGain(preempted, snapshot, step);
}

/** Whether a sequence must copy its last page, and fits only without that copy: so it starts again. */
function mustStartAnew({ id, nComputed }: EngineSequence, snapshot: PageSnapshot): boolean {
  const { counts, published, pageSize, nPages, pins } = snapshot;
  const own = pagesOf(id, snapshot);
  const last = own.at(-1) ?? -1;
  const mustCopy =
    nComputed % pageSize > 0 && (counts[last]! > 1 || published.some(({ page }) => page === last));
  const pinned = new Set(pins.flat().filter((page) => page >= 0));
  const nUnpinned = own.filter((page) => !pinned.has(page)).length;
  return mustCopy && nUnpinned + 1 > nPages - pinned.size;
}

/** Each preempted sequence had a page that nothing else holds now, or that only the one that writes to it holds. */
function checkGain(preempted: readonly EngineSequence[], snapshot: PageSnapshot, step: Step): void {
  const lost = preempted.flatMap(({ id }) => pagesOf(id, snapshot));
  const nLost = (page: number) => lost.filter((other) => other === page).length;
  const written = new Set(Array.from(step.slotMapping, (slot) => Math.floor(slot / snapshot.pageSize)));
  for (const { id } of preempted) {
    const hasGain = pagesOf(id, snapshot).some(
      (page) => snapshot.counts[page]! - nLost(page) === 0 || written.has(page),
    );
    assertSame(`sequence ${id} was preempted with a gain`, hasGain, true);
  }
  // What is admitted is promised pages that it takes only later.
  const hadPages = (id: number) =>
    snapshot.sequences.find((sequence) => sequence.id === id)!.pages.length > 0;
  if (preempted.length === 0 || !Array.from(step.sequences).every(hadPages)) return;
  const kept = new Set(snapshot.sequences.flatMap(({ pages }) => pages).filter((page) => nLost(page) === 0));
  const taken = [...new Set(step.blockTable)].filter((page) => page >= 0 && !kept.has(page));
  // Of those that share a last page one writes to it in place, which a plan does not count upon.
  const nShared = new Set(step.copies.map(([source]) => source)).size;
  const hasShared = [...written].some((page) => nLost(page) > 0);
  assertSame(
    'pages taken are more than were free',
    taken.length + nShared > snapshot.free.length || hasShared,
    true,
  );
}

function pagesOf(id: number, { sequences }: PageSnapshot): number[] {
  return sequences.find((sequence) => sequence.id === id)!.pages.filter((page) => page >= 0);
}
