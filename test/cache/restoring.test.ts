import { describe, expect, test } from 'vitest';
import type { SaveSequenceArgs } from '../../src/cache/saveStream.js';
import { StepPlanner } from '../../src/index.js';
import { Random } from '../../tools/random.js';
import { refusal, rejection } from '../check/refusal.js';
import { bytesOf, FINGERPRINT as fingerprint, SavedChats } from './savedChats.js';

const tokensOf = (count: number, seed = 1): number[] =>
  Array.from({ length: count }, (_, i) => 1000 * seed + ((i * i) % 17));

async function save({ cache, pages }: SavedChats, what: Omit<SaveSequenceArgs, 'pages' | 'fingerprint'>) {
  return bytesOf(cache.save({ pages, fingerprint, ...what } as SaveSequenceArgs));
}

async function restore({ cache, pages }: SavedChats, bytes: Uint8Array<ArrayBuffer>, options: object = {}) {
  const saved = await cache.readSaved({ source: [bytes], fingerprint });
  return (await cache.restore({ pages, saved, ...options })) as number;
}

function stateOf({ pages }: SavedChats): string {
  return JSON.stringify([pages.snapshot(), pages.usage()]);
}

/** Everything ends: all pages must be free. */
function expectAllFree({ pages }: SavedChats): void {
  for (const { id } of pages.snapshot().sequences) pages.release(id);
  expect(pages.nFreePages).toBe(pages.nPages);
  expect(pages.usage().nHostUsed).toBe(0);
}

describe('a restored sequence goes on as the saved one would', () => {
  test.each([
    { why: 'all computed, the last page half full', nTokens: 10, nComputed: 10 },
    { why: 'its last token to be computed', nTokens: 11, nComputed: 10 },
    { why: 'in whole pages', nTokens: 12, nComputed: 12 },
    { why: 'a long prompt, of which a chunk is computed', nTokens: 30, nComputed: 7 },
    { why: 'not computed at all', nTokens: 9, nComputed: 0 },
    { why: 'without tokens', nTokens: 0, nComputed: 0 },
    { why: 'of a salt', nTokens: 9, nComputed: 9, options: { salt: -3 } },
    { why: 'private', nTokens: 9, nComputed: 9, options: { isPrivate: true } },
    { why: 'private, with a window', nTokens: 30, nComputed: 30, options: { isPrivate: true }, window: 5 },
    { why: 'with a window', nTokens: 30, nComputed: 29, window: 5 },
    { why: 'with a window that leaves pages behind', nTokens: 48, nComputed: 48, window: 4 },
    { why: 'without a prefix cache', nTokens: 10, nComputed: 10, isCaching: false },
  ])('$why', async ({ nTokens, nComputed, options = {}, window = -1, isCaching = true }) => {
    const setup = { window, isCaching };
    const [there, here] = [await SavedChats.create(setup), await SavedChats.create(setup)];
    const tokens = tokensOf(nTokens);
    const chat = there.pages.add(tokens, options);
    for (let n = 0; n < nComputed; n += 3) await there.compute(chat, Math.min(3, nComputed - n));
    // Others have used the pages before.
    here.pages.release(await here.chat(tokensOf(50, 5)));
    const bytes = await save(there, { sequence: chat });
    const again = await restore(here, bytes);
    const view = here.pages.sequence(again);
    const { nPages, isResting } = there.pages.sequence(chat);
    expect(view).toMatchObject({ nTokens, nComputed, nInFlight: 0, nPages, isResting, isSwapped: false });
    expect(await save(here, { sequence: again })).toEqual(bytes);
    for (const chats of [there, here]) {
      const id = chats === there ? chat : again;
      for (let i = 0; i < 6; i++) {
        chats.pages.append(id, [40 + i]);
        await chats.compute(id);
        expect(await chats.wrongTokens(id)).toEqual([]);
      }
    }
    expect(await save(here, { sequence: again })).toEqual(await save(there, { sequence: chat }));
    expectAllFree(here);
    expectAllFree(there);
  });

  test('one that was evicted after all was computed rests, and is computed again only with what is appended', async () => {
    const [there, here] = [await SavedChats.create(), await SavedChats.create()];
    const chat = await there.chat(tokensOf(9));
    there.pages.evict(chat);
    there.pages.reset();
    const again = await restore(here, await save(there, { sequence: chat }));
    expect(here.pages.sequence(again)).toMatchObject({
      nTokens: 9,
      nComputed: 0,
      nPages: 0,
      isResting: true,
    });
  });

  test('a fork, and the one that it was forked from', async () => {
    const [there, here] = [await SavedChats.create(), await SavedChats.create()];
    const chat = await there.chat(tokensOf(11));
    const fork = there.pages.fork(chat, 10);
    const saved = [await save(there, { sequence: chat }), await save(there, { sequence: fork })];
    there.pages.append(fork, [7, 7]);
    await there.compute(fork);
    expect(await there.wrongTokens(chat)).toEqual([]);
    const again = [await restore(here, saved[0]!), await restore(here, saved[1]!)];
    here.pages.append(again[1]!, [7, 7]);
    await here.compute(again[1]!);
    for (const id of again) expect(await here.wrongTokens(id)).toEqual([]);
    // The two full pages are one and the same for both.
    expect(here.pages.usage().nShared).toBe(2);
    expectAllFree(here);
  });

  test('a swapped one, from host memory', async () => {
    const [there, here] = [await SavedChats.create({ nHostPages: 8 }), await SavedChats.create()];
    const chat = await there.chat(tokensOf(15));
    const before = await save(there, { sequence: chat });
    const swapsOut = there.pages.swapOut(chat);
    if (swapsOut === 'full') throw new Error('full');
    there.ram.hold();
    const moved = there.cache.movePages({ swapsOut, copies: [], swapsIn: [] });
    const saving = save(there, { sequence: chat });
    there.ram.release();
    await moved;
    expect(await saving).toEqual(before);
    // Host pages may be reused while the stream is read.
    const stream = there.cache.save({ pages: there.pages, sequence: chat, fingerprint });
    there.pages.release(chat);
    const other = await there.chat(tokensOf(15, 2));
    await there.cache.movePages({ swapsOut: there.pages.swapOut(other) as never, copies: [], swapsIn: [] });
    expect(await bytesOf(stream)).toEqual(before);
    expect(await here.wrongTokens(await restore(here, before))).toEqual([]);
  });

  test('under another salt, or in private, if that is asked for', async () => {
    const [there, here] = [await SavedChats.create(), await SavedChats.create()];
    const bytes = await save(there, { sequence: await there.chat(tokensOf(9)) });
    await restore(here, bytes, { salt: 7 });
    expect(here.pages.snapshot().published.map(({ salt }) => salt)).toEqual([7, 7]);
    await restore(here, bytes, { isPrivate: true });
    expect(here.pages.snapshot().published).toHaveLength(2);
    expect(here.pages.usage().nUsed).toBe(6);
  });
});

test(
  'saved and restored at random moments, chats are as they would be without',
  { timeout: 60_000 },
  async () => {
    for (let seed = 0; seed < 12; seed++) {
      const random = new Random(seed);
      const window = random.boolean() ? -1 : random.int(1, 9);
      const setup = { window, nPages: 24, nHostPages: 24 };
      const undisturbed = await SavedChats.create(setup);
      let chats = await SavedChats.create(setup);
      const start = tokensOf(random.int(1, 20), seed);
      const wanted = undisturbed.pages.add(start);
      let chat = chats.pages.add(start);
      for (let move = 0; move < 25; move++) {
        const { nTokens, nComputed } = undisturbed.pages.sequence(wanted);
        const n = random.int(1, 6);
        const kind = random.int(0, 5);
        if (kind === 0) {
          const more = tokensOf(n, random.int(0, 3));
          for (const [{ pages }, id] of [[undisturbed, wanted], [chats, chat]] as const) pages.append(id, more); // prettier-ignore
        } else if (kind === 1 && nComputed > 0) {
          const nKept = Math.max(0, nTokens - n);
          for (const [{ pages }, id] of [[undisturbed, wanted], [chats, chat]] as const) pages.truncate(id, nKept); // prettier-ignore
        } else if (kind === 2) {
          for (const [place, id] of [[undisturbed, wanted], [chats, chat]] as const) await place.compute(id, n); // prettier-ignore
        } else {
          if (random.boolean()) {
            const swapsOut = chats.pages.swapOut(chat);
            if (swapsOut === 'full') throw new Error('full');
            await chats.cache.movePages({ swapsOut, copies: [], swapsIn: [] });
          }
          const bytes = await save(chats, { sequence: chat });
          // Here, besides the one that it was; or somewhere else.
          if (random.boolean()) chats = await SavedChats.create(setup);
          else chats.pages.release(chat);
          chat = await restore(chats, bytes);
        }
        expect(chats.pages.sequence(chat)).toMatchObject({
          nTokens: undisturbed.pages.sequence(wanted).nTokens,
        });
        expect(await chats.wrongTokens(chat)).toEqual([]);
        if (window < 0)
          expect(chats.pages.sequence(chat).nComputed).toBe(undisturbed.pages.sequence(wanted).nComputed);
      }
    }
  },
);

describe('what others find of it', () => {
  test('a prompt with the same beginning finds its full pages, also after it has ended', async () => {
    const [there, here] = [await SavedChats.create(), await SavedChats.create()];
    const again = await restore(here, await save(there, { sequence: await there.chat(tokensOf(11)) }));
    here.pages.release(again);
    const next = here.pages.add([...tokensOf(11), 1, 2]);
    expect(here.pages.nToCompute(next)).toBe(13 - 8);
    await here.compute(next);
    expect(await here.wrongTokens(next)).toEqual([]);
    // Restoring is no prompt that searched.
    expect(here.pages.usage().hitPercent).toBeCloseTo((100 * 8) / 13);
  });

  test('with a window, though its first pages were never here', async () => {
    const setup = { window: 6 };
    const [there, here] = [await SavedChats.create(setup), await SavedChats.create(setup)];
    const chat = there.pages.add(tokensOf(40));
    for (let n = 0; n < 40; n += 4) await there.compute(chat, 4);
    const again = await restore(here, await save(there, { sequence: chat }));
    here.pages.release(again);
    const next = here.pages.add([...tokensOf(40), 5]);
    expect(here.pages.nToCompute(next)).toBe(1);
    await here.compute(next);
    expect(await here.wrongTokens(next)).toEqual([]);
    here.pages.release(next);
    here.pages.reset();
    expect(here.pages.snapshot().published).toEqual([]);
  });

  test('what is here already is shared, and only the rest is written', async () => {
    const [there, here] = [await SavedChats.create(), await SavedChats.create({ nPages: 5 })];
    const bytes = await save(there, { sequence: await there.chat(tokensOf(18)) });
    const prompt = await here.chat(tokensOf(12));
    const again = await restore(here, bytes);
    expect(here.pages.usage()).toMatchObject({ nUsed: 5, nShared: 3 });
    for (const id of [prompt, again]) expect(await here.wrongTokens(id)).toEqual([]);
    const twice = await restore(here, bytes).catch(() => undefined);
    expect(twice).toBe('full');
    here.pages.release(again);
    expect(await here.wrongTokens(await restore(here, bytes))).toEqual([]);
  });

  test('more is found here than was saved', async () => {
    const [there, here] = [await SavedChats.create(), await SavedChats.create()];
    const bytes = await save(there, { sequence: await there.chat(tokensOf(18), 6) });
    await here.chat(tokensOf(13));
    const again = await restore(here, bytes);
    expect(here.pages.sequence(again)).toMatchObject({ nTokens: 18, nComputed: 12 });
    expect(await here.wrongTokens(again)).toEqual([]);
  });

  test('what the prefix cache has of the tokens of sequences that ended can be saved', async () => {
    const [there, here] = [await SavedChats.create(), await SavedChats.create()];
    there.pages.release(await there.chat(tokensOf(16), 16, { salt: 2 }));
    const bytes = await save(there, { tokens: tokensOf(18), salt: 2 });
    const again = await restore(here, bytes);
    expect(here.pages.sequence(again)).toMatchObject({ nTokens: 18, nComputed: 16 });
    expect(await here.wrongTokens(again)).toEqual([]);
    const nothing = await restore(here, await save(there, { tokens: tokensOf(18) }));
    expect(here.pages.sequence(nothing)).toMatchObject({ nTokens: 18, nComputed: 0 });
  });
});

describe('while a stream is read', () => {
  test('the sequence goes on, ends, is evicted, and pages move; the stream has what was there', async () => {
    const there = await SavedChats.create({ nPages: 12 });
    const { cache, pages } = there;
    pages.release(await there.chat(tokensOf(20, 3)));
    const chat = await there.chat(tokensOf(10));
    const bytes = await save(there, { sequence: chat });
    const streams = [0, 1, 2].map(() => cache.save({ pages, sequence: chat, fingerprint }));
    pages.append(chat, [1, 2, 3]);
    await there.compute(chat);
    expect(await bytesOf(streams[0]!)).toEqual(bytes);
    pages.truncate(chat, 5);
    pages.append(chat, [8]);
    await there.compute(chat);
    pages.release(chat);
    const copies = pages.resize(4);
    if (copies === 'full') throw new Error('full');
    cache.copyPages = () => undefined;
    for (const [from, to] of copies) cache.writePages([to], await cache.readPages([from]));
    expect(copies.length).toBeGreaterThan(0);
    await there.chat(tokensOf(4, 4));
    expect(await bytesOf(streams[1]!)).toEqual(bytes);
    expect(pages.add(tokensOf(5))).toBeGreaterThan(0);
    await streams[2]!.cancel();
    expectAllFree(there);
  });

  test('a stream that is cancelled, or fails, holds nothing', async () => {
    const there = await SavedChats.create();
    const { cache, pages, ram } = there;
    const chat = await there.chat(tokensOf(10));
    const before = stateOf(there);
    const open = () => cache.save({ pages, sequence: chat, fingerprint });
    await open().cancel();
    const half = open().getReader();
    await half.read();
    await half.cancel();
    expect(stateOf(there)).toBe(before);

    const failed = open().getReader();
    await failed.read();
    ram.failMappings('no memory');
    expect(await rejection(failed.read())).toMatchInlineSnapshot(
      `"device: PagedKvCache.save: what was read could not be mapped: no memory"`,
    );
    ram.failMappings(undefined);
    expect(stateOf(there)).toBe(before);

    const forgotten = open().getReader();
    await forgotten.read();
    pages.reset();
    expect(await rejection(forgotten.read())).toMatchInlineSnapshot(
      `"argument: PagedKvCache.save: the pages to save are held no more, since a reset took them or they were released. Save what is there now."`,
    );
    const destroyed = await there.chat(tokensOf(10, 2));
    const late = cache.save({ pages, sequence: destroyed, fingerprint });
    cache.destroy();
    expect(await rejection(bytesOf(late))).toMatchInlineSnapshot(
      `"device: PagedKvCache.save: the cache was destroyed."`,
    );
    expectAllFree(there);
  });

  test('a lost device ends it', async () => {
    const there = await SavedChats.create();
    const { cache, pages, ram } = there;
    const reader = cache.save({ pages, sequence: await there.chat(tokensOf(10)), fingerprint }).getReader();
    await reader.read();
    ram.hold();
    const message = rejection(reader.read());
    ram.lose('it fell');
    expect(await message).toMatchInlineSnapshot(
      `"device: PagedKvCache.save: the runtime cannot be used any more, since the device was lost (unknown): it fell."`,
    );
    expectAllFree(there);
  });
});

describe('restoring', () => {
  test('a full pool is an answer, and nothing has changed', async () => {
    const [there, here] = [await SavedChats.create(), await SavedChats.create({ nPages: 4 })];
    const bytes = await save(there, { sequence: await there.chat(tokensOf(11)) });
    const other = await here.chat(tokensOf(7, 2));
    const before = stateOf(here);
    expect(await restore(here, bytes)).toBe('full');
    expect(stateOf(here)).toBe(before);
    here.pages.release(other);
    expect(await here.wrongTokens(await restore(here, bytes))).toEqual([]);
  });

  test('a window that sees pages which are gone is refused', async () => {
    const [there, here] = [await SavedChats.create({ window: 4 }), await SavedChats.create({ window: 30 })];
    const chat = there.pages.add(tokensOf(40));
    for (let n = 0; n < 40; n += 4) await there.compute(chat, 4);
    const before = stateOf(here);
    const bytes = await save(there, { sequence: chat });
    const saved = await here.cache.readSaved({ source: [bytes], fingerprint });
    expect(await rejection(here.cache.restore({ pages: here.pages, saved }))).toMatchInlineSnapshot(
      `"argument: PagedKvCache.restore: the first page is that of column 9, but what follows 40 tokens sees column 2. Save with the window of this manager."`,
    );
    expect(stateOf(here)).toBe(before);
  });

  /** A sequence in seven pages of 1 MiB, which are two pieces, and a cache where it can be restored. */
  async function big() {
    const options = { nLayers: 1, headDim: 512, headDimV: 512, pageSize: 512, nPages: 8 };
    const [there, here] = [await SavedChats.create(options), await SavedChats.create(options)];
    const random = new Random(1);
    const contents = Array.from({ length: 7 }, () => {
      const words = Uint32Array.from({ length: 2 ** 18 }, () => random.int(0, 2 ** 32));
      return new Uint8Array(words.buffer);
    });
    const chat = there.pages.add(Array.from({ length: 7 * 512 }, (_, i) => i));
    there.pages.reserve(chat);
    there.cache.writePages([0, 1, 2, 3, 4, 5, 6], contents);
    there.pages.commit(chat);
    const bytes = await save(there, { sequence: chat });
    const { cache, pages } = here;
    const saved = await cache.readSaved({ source: new Blob([bytes]), fingerprint });
    return { here, cache, pages, bytes, saved };
  }

  test('from a blob piece by piece, while its pages are nobody else’s', async () => {
    const { here, cache, pages, bytes, saved } = await big();
    const restoring = cache.restore({ pages, saved });
    expect(pages.nFreePages).toBe(1);
    const other = pages.add([1, 2, 3]);
    expect(pages.canFit(other)).toBe(true);
    pages.append(
      other,
      Array.from({ length: 600 }, () => 1),
    );
    expect([pages.canFit(other), pages.reserve(other)]).toEqual([false, 'full']);
    expect(refusal(() => pages.resize(8))).toContain('in flight');
    const sequence = (await restoring) as number;
    expect(pages.snapshot().pins).toEqual([]);
    expect(pages.sequence(sequence)).toMatchObject({ nComputed: 7 * 512, nInFlight: 0 });
    expect(Buffer.compare(await save(here, { sequence }), bytes)).toBe(0);
    expectAllFree(here);
  });

  test('a blob that changes, a reset, an abort and a lost device meanwhile give all pages back', async () => {
    const { here, cache, pages, bytes, saved } = await big();
    const before = stateOf(here);
    const slice = Blob.prototype.slice;
    const changed = bytes.slice();
    changed[changed.length - 5]! ^= 1;
    Blob.prototype.slice = (...range) => slice.apply(new Blob([changed]), range);
    const message = await rejection(cache.restore({ pages, saved })).finally(
      () => (Blob.prototype.slice = slice),
    );
    expect(message).toMatchInlineSnapshot(
      `"argument: PagedKvCache.restore: the source of saved has changed since it was read. Read it again."`,
    );
    expect(stateOf(here)).toBe(before);

    const controller = new AbortController();
    const stopped = cache.restore({ pages, saved, signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(stopped).rejects.toThrow('enough');
    await expect(cache.restore({ pages, saved, signal: controller.signal })).rejects.toThrow('enough');
    expect(stateOf(here)).toBe(before);

    const reset = cache.restore({ pages, saved });
    pages.reset();
    expect(await rejection(reset)).toMatchInlineSnapshot(
      `"argument: PagedKvCache.restore: pages was reset meanwhile. Restore the sequence again."`,
    );
    expect(stateOf(here)).toBe(before);

    const lost = rejection(cache.restore({ pages, saved }));
    here.ram.lose('it fell');
    expect(await lost).toMatchInlineSnapshot(
      `"device: PagedKvCache.restore: the runtime cannot be used any more, since the device was lost (unknown): it fell."`,
    );
    expect(stateOf(here)).toBe(before);
  });
});

describe('with a planner', () => {
  async function planned(options: object = {}) {
    const chats = await SavedChats.create({ nPages: 8, nHostPages: 8, ...options });
    const { pages } = chats;
    const planner = new StepPlanner({ pages, maxTokens: 64, maxSequences: 4, watermark: 0, preempt: 'swap' });
    const step = async () => {
      const next = planner.plan();
      if (typeof next === 'string') return next;
      for (const [from, to] of next.copies) chats.cache.writePages([to], await chats.cache.readPages([from]));
      await chats.cache.movePages({ ...next, copies: [] });
      for (const sequence of next.sequences) await chats.write(sequence);
      return next;
    };
    return { chats, planner, step };
  }

  test('a restored sequence is the planner’s: it rests, or goes on with the token that was to be computed', async () => {
    const there = await SavedChats.create();
    const resting = await save(there, { sequence: await there.chat(tokensOf(10)) });
    const asking = await save(there, { sequence: await there.chat(tokensOf(9, 2), 8) });
    const { chats, planner, step } = await planned();
    const chat = await restore(chats, resting);
    expect([planner.nRunning, planner.plan()]).toEqual([1, 'idle']);
    planner.append(chat, [1, 2]);
    const other = await restore(chats, asking, { priority: 1 });
    const planned2 = await step();
    if (typeof planned2 === 'string') throw new Error(planned2);
    expect([...planned2.sequences]).toEqual([other, chat]);
    expect([...planned2.cacheSeqlens]).toEqual([8, 10]);
    planner.commit([5, 6]);
    for (const id of [chat, other]) expect(await chats.wrongTokens(id)).toEqual([]);
    planner.finish(chat);
    const prompt = planner.add({ tokens: [...tokensOf(10), 1, 2, 6, 9] });
    const next = await step();
    if (typeof next === 'string') throw new Error(next);
    expect(next.cacheSeqlens[[...next.sequences].indexOf(prompt)]).toBe(12);
  });

  test('while a step is planned, its pages are not taken, and what it swaps is not saved', async () => {
    const there = await SavedChats.create();
    const bytes = await save(there, { sequence: await there.chat(tokensOf(4, 9)) });
    const { chats, planner, step } = await planned({ nPages: 4 });
    const { cache, pages } = chats;
    const first = planner.add({ tokens: tokensOf(8), priority: 1 });
    const second = planner.add({ tokens: tokensOf(6, 2) });
    await step();
    planner.commit([1, 2]);
    // The second gives way to the first: its pages go to the host.
    const swapping = planner.plan();
    if (typeof swapping === 'string') throw new Error(swapping);
    expect(swapping.swapsOut.map(([page]) => page)).toHaveLength(2);
    expect(pages.nFreePages).toBe(1);
    expect(await restore(chats, bytes)).toBe('full');
    expect(refusal(() => cache.save({ pages, sequence: second, fingerprint }))).toMatchInlineSnapshot(
      `"argument: PagedKvCache.save: the planned step swaps sequence 1. Commit the step first."`,
    );
    expect(refusal(() => cache.save({ pages, sequence: first, fingerprint }))).toContain('in flight');
    await cache.movePages(swapping);
    for (const sequence of swapping.sequences) await chats.write(sequence);
    planner.commit(Array.from(swapping.sampled, () => 4));
    const again = await restore(chats, bytes);
    expect(await chats.wrongTokens(again)).toEqual([]);
    const third = await SavedChats.create();
    expect(await third.wrongTokens(await restore(third, await save(chats, { sequence: second })))).toEqual(
      [],
    );
  });

  test('adopt refuses what it cannot take', async () => {
    const { chats, planner } = await planned();
    const chat = chats.pages.add(tokensOf(5));
    planner.adopt({ sequence: chat });
    const other = chats.pages.add(tokensOf(5));
    chats.pages.reserve(other);
    expect([
      refusal(() => planner.adopt({ sequence: chat })),
      refusal(() => planner.adopt({ sequence: other })),
      refusal(() => planner.adopt({ sequence: 77 })),
      refusal(() => planner.adopt({ sequence: chat, priority: NaN })),
      refusal(() => planner.adopt(chat as never)),
    ]).toMatchInlineSnapshot(`
      [
        "argument: StepPlanner.adopt: sequence 0 is one of the planner's already. Adopt it once.",
        "argument: StepPlanner.adopt: sequence 1 has 5 tokens in flight. Commit them first.",
        "argument: PageManager.sequence: there is no sequence 77. Pass the id of one that was started.",
        "argument: StepPlanner.adopt: priority must be a finite number, not NaN.",
        "argument: StepPlanner.adopt: the arguments must be one object, not 0.",
      ]
    `);
  });
});
