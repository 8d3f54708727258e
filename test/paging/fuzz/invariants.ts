import type { PublishedPage } from '../../../src/paging/prefix/pageEvents.js';
import type { PageSnapshot } from '../../../src/paging/pageSnapshot.js';
import { assertSame, assertSameNumbers } from './fastAssert.js';
import type { ModelSequence, PagingModel } from './pagingModel.js';

/** Checks what must be true after every operation. */
export function checkInvariants(model: PagingModel): void {
  const snapshot = model.manager.snapshot();
  checkCounts(snapshot, model);
  checkTokens(snapshot, model);
  checkWrites(snapshot, model);
  checkPublished(snapshot, model);
  checkEvictionOrder(snapshot);
  checkDemand(snapshot, model);
  checkBatch(snapshot, model);
}

/** A page is either free or held, and its refcount is how often it is in tables, pins and copies. */
function checkCounts(snapshot: PageSnapshot, { manager, options }: PagingModel): void {
  const { nPages, counts, free, sequences, pins, published, freeHostPages } = snapshot;
  const expected = Array.from({ length: nPages }, () => 0);
  for (const { pages, copySource } of sequences)
    for (const page of [...pages, copySource]) if (page >= 0) expected[page]!++;
  for (const page of pins.flat()) if (page >= 0) expected[page]!++;
  assertSameNumbers('counts', counts, expected);
  const notHeld = counts.flatMap((count, page) => (count === 0 ? [page] : []));
  assertSameNumbers('free pages', ascending(free), notHeld);

  const hostPages = new Set(sequences.flatMap((sequence) => sequence.hostPages));
  assertSameNumbers('host pages', ascending([...freeHostPages, ...hostPages]), [
    ...Array.from({ length: options.nHostPages }).keys(),
  ]);

  const { nUsed, nShared, nCached, wastePercent } = manager.usage();
  assertSame('nFreePages', manager.nFreePages, free.length);
  assertSame('nUsed', nUsed, nPages - free.length);
  assertSame('nShared', nShared, counts.filter((count) => count > 1).length);
  assertSame('nCached', nCached, published.filter(({ page }) => counts[page] === 0).length);
  assertSame('waste within 0 to 100 %', wastePercent >= 0 && wastePercent < 100, true);
}

/** Every computed token is where the table says, and no page is missing that a query can see. */
function checkTokens({ sequences }: PageSnapshot, model: PagingModel): void {
  const { pageSize, window, firstKeys } = model.options;
  assertSame('sequences', sequences.length, model.sequences.length);
  sequences.forEach(({ id, nTokens, nComputed, nInFlight, pages, hostPages }, i) => {
    const { tokens, salt, isSwapped, ...expected } = model.sequences[i]!;
    assertSameNumbers(
      'progress',
      [id, nTokens, nComputed, nInFlight],
      [expected.id, tokens.length, expected.nComputed, expected.nInFlight],
    );
    const ids = model.kvIds.of(salt, tokens);
    const nPages = Math.ceil((nComputed + nInFlight) / pageSize);
    if (!isSwapped) assertSame('a page for each token, and none more', pages.length, nPages);
    const held = isSwapped ? hostPages : pages;
    // Of a swapped sequence, those that it keeps for its first keys, and behind a gap the last ones.
    const nGap = nPages - held.length;
    const nKept = nGap > 0 ? Math.ceil(firstKeys / pageSize) : 0;
    const heldAt = (column: number): number | undefined =>
      column < nKept ? held[column] : column < nKept + nGap ? undefined : held[column - nGap];
    for (let position = 0; position < nComputed; position++) {
      const page = heldAt(Math.floor(position / pageSize)) ?? -1;
      if (page < 0) {
        const isSeen = window < 0 || position >= nComputed - window || position < firstKeys;
        assertSame(`sequence ${id} lacks token ${position} and sees it`, isSeen, false);
        continue;
      }
      const memory = isSwapped ? model.hostMemory : model.memory;
      const written = memory[(isSwapped ? page : sourceOf(page, model)) * pageSize + (position % pageSize)];
      assertSame(`token ${position} of sequence ${id}, in page ${page}`, written, ids[position]);
    }
  });
}

/** The page where the content of a page still is. */
function sourceOf(page: number, { pending }: PagingModel): number {
  return pending.find(([, target]) => target === page)?.[0] ?? page;
}

/** A page with tokens in flight has one holder, and cannot be found. */
function checkWrites({ pageSize, sequences, counts, published }: PageSnapshot, model: PagingModel): void {
  for (const { nComputed, nInFlight, pages } of sequences) {
    for (let position = nComputed; position < nComputed + nInFlight; position++) {
      const page = pages[Math.floor(position / pageSize)]!;
      assertSame('holders of a page to write', counts[page], 1);
      assertSame(
        'a page to write can be found',
        published.some((other) => other.page === page),
        false,
      );
    }
  }
  const targets = new Set(model.pending.map(([, target]) => target));
  assertSame('copies to different pages', targets.size, model.pending.length);
  for (const [source] of model.pending) {
    assertSame('a copy of a copy', targets.has(source), false);
    assertSame('a page to copy is held', counts[source]! > 0, true);
  }
}

/** Published pages are written, are different, and are what the events have told. */
function checkPublished({ published, pageSize }: PageSnapshot, model: PagingModel): void {
  const byPage = new Map(published.map((entry) => [entry.page, entry]));
  const names = published.map(({ parent, salt, tokens }) => [parent, salt, ...tokens].join());
  assertSame('contents of published pages', new Set(names).size, names.length);
  const parents = new Set(published.map(({ parent }) => parent));
  for (const entry of published) {
    const tokens = pathOf(entry, byPage)
      .toReversed()
      .flatMap((page) => [...page.tokens]);
    if (entry.page < 0) {
      const leads = parents.has(entry.page) || model.sequences.some((own) => hasComputed(own, entry, tokens));
      assertSame(`something holds ${entry.page}, which is in no page`, leads, true);
      continue;
    }
    const ids = model.kvIds.of(entry.salt, tokens).slice(-pageSize);
    const start = entry.page * pageSize;
    assertSameNumbers(
      `published page ${entry.page}`,
      [...model.memory.subarray(start, start + pageSize)],
      ids,
    );
  }
  assertSame('what events have said', listed(model.router.published), listed(published));
}

function hasComputed(own: ModelSequence, { salt }: PublishedPage, tokens: readonly number[]): boolean {
  return (
    own.salt === salt && own.nComputed >= tokens.length && tokens.every((token, i) => own.tokens[i] === token)
  );
}

function listed(published: readonly PublishedPage[]): string {
  return published
    .map(({ page, parent, salt, tokens }) => `${page} after ${parent}, salt ${salt}: ${tokens.join(' ')}`)
    .toSorted()
    .join('; ');
}

/** The pages from this one back to the first of its prompt. */
function pathOf(entry: PublishedPage, byPage: ReadonlyMap<number, PublishedPage>): PublishedPage[] {
  const path = [entry];
  for (let { parent } = entry; parent !== -1; { parent } = path.at(-1)!) path.push(byPage.get(parent)!);
  return path;
}

/** Pages without content are evicted first, and later pages of a prompt before earlier ones. */
function checkEvictionOrder({ free, published }: PageSnapshot): void {
  const byPage = new Map(published.map((entry) => [entry.page, entry]));
  const nEmpty = free.filter((page) => !byPage.has(page)).length;
  assertSame(
    'empty pages that are free first',
    free.slice(0, nEmpty).filter((page) => !byPage.has(page)).length,
    nEmpty,
  );
  const rank = new Map(free.map((page, i) => [page, i]));
  for (const entry of published) {
    if (!rank.has(entry.page)) continue;
    for (const { page } of pathOf(entry, byPage).slice(1)) {
      if (page < 0) break;
      const isDeeperFirst = !rank.has(page) || rank.get(page)! > rank.get(entry.page)!;
      assertSame(`page ${entry.page} is reused before page ${page}, which leads to it`, isDeeperFirst, true);
    }
  }
}

/** Sequences find what the events promise, and the figures that a planner uses are right. */
function checkDemand({ sequences }: PageSnapshot, model: PagingModel): void {
  sequences.forEach(({ id, pages, hostPages }, i) => {
    const { tokens, salt, isPrivate, nComputed, nInFlight, nOnceComputed } = model.sequences[i]!;
    const isFresh = pages.length === 0 && hostPages.length === 0;
    const found = isFresh && !isPrivate ? model.router.find(tokens, salt).nTokens : 0;
    if (nInFlight === 0)
      assertSame(
        `nToCompute of sequence ${id}`,
        model.manager.nToCompute(id),
        tokens.length - nComputed - found,
      );
    assertSame(`sequence ${id} rests`, model.manager.sequence(id).isResting, nOnceComputed === tokens.length);
  });
  const { nSearched, nHit } = model.hits;
  assertSame('hitPercent', model.manager.usage().hitPercent, nSearched === 0 ? 0 : (100 * nHit) / nSearched);
  for (const { id, tokens, salt } of model.pins) {
    const { nTokens } = model.router.find([...tokens, 0], salt);
    assertSame(`tokens of pin ${id} that are found`, nTokens, tokens.length);
  }
}

/** The arrays for the GPU have what the tables have. */
function checkBatch({ sequences, pageSize }: PageSnapshot, model: PagingModel): void {
  const here = sequences.filter((_, i) => !model.sequences[i]!.isSwapped);
  const batch = model.manager.batch(here.map(({ id }) => id));
  const padded = (pages: readonly number[]) =>
    Array.from({ length: batch.tableWidth }, (_, column) => pages[column] ?? -1);
  const newPositions = ({ nComputed, nInFlight }: (typeof here)[number]) =>
    Array.from({ length: nInFlight }, (_, i) => nComputed + i);
  let total = 0;
  const ends = here.map(({ nInFlight }) => (total += nInFlight));
  assertSameNumbers(
    'blockTable',
    [...batch.blockTable],
    here.flatMap(({ pages }) => padded(pages)),
  );
  assertSameNumbers(
    'cacheSeqlens',
    [...batch.cacheSeqlens],
    here.map(({ nComputed }) => nComputed),
  );
  assertSameNumbers(
    'sequsedK',
    [...batch.sequsedK],
    here.map(({ nComputed, nInFlight }) => nComputed + nInFlight),
  );
  assertSameNumbers('cuSeqlensQ', [...batch.cuSeqlensQ], [0, ...ends]);
  // What a spread takes along, and what in it clears what an earlier step had.
  const { cuSeqlensKNew, cacheBatchIdx, nNewTokens, ...rest } = { ...batch };
  assertSameNumbers('cuSeqlensKNew', [...cuSeqlensKNew], [0, ...ends]);
  assertSame('cacheBatchIdx', cacheBatchIdx, undefined);
  assertSame('nNewTokens', nNewTokens, total);
  assertSame('maxSeqlenK', rest.maxSeqlenK, Math.max(0, ...batch.sequsedK));
  assertSameNumbers('tokenPositions', [...batch.tokenPositions], here.flatMap(newPositions));
  const slotOf = (pages: readonly number[]) => (position: number) =>
    pages[Math.floor(position / pageSize)]! * pageSize + (position % pageSize);
  const slots = here.flatMap((sequence) => newPositions(sequence).map(slotOf(sequence.pages)));
  assertSameNumbers('slotMapping', [...batch.slotMapping], slots);
}

function ascending(numbers: readonly number[]): number[] {
  return numbers.toSorted((a, b) => a - b);
}
