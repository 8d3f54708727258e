import { expect, test } from 'vitest';
import { PagedKvCache, type PagedKvCacheOptions } from '../../src/cache/pagedKvCache.js';
import { createRuntime, PageManager, type PageMoves, type Runtime } from '../../src/index.js';
import { ramDevice } from '../runtime/ramDevice.js';
import { rejection } from '../check/refusal.js';

const OPTIONS = {
  nLayers: 2,
  nKvHeads: 1,
  headDim: 4,
  headDimV: 12,
  dtype: 'f16',
  pageSize: 2,
  nPages: 6,
} as const satisfies PagedKvCacheOptions;

/** A cache on a device in RAM that copies no pages, and lists what it was asked to do. */
async function setUp(options: Partial<PagedKvCacheOptions> = {}) {
  const ram = ramDevice();
  const runtime = createRuntime(ram.device);
  const log: string[] = [];
  Object.assign(runtime, {
    compile: () => Promise.resolve(),
    submit: () => log.push('copies'),
  } satisfies Partial<Record<keyof Runtime, unknown>>);
  const { queue } = ram.device;
  const { writeBuffer, submit } = queue;
  Object.assign(queue, {
    writeBuffer: (...args: Parameters<typeof writeBuffer>) => {
      if (log.at(-1) !== 'in') log.push('in');
      writeBuffer(...args);
    },
    submit: (...args: Parameters<typeof submit>) => {
      log.push('out');
      submit(...args);
    },
  });
  const cache = await PagedKvCache.create(runtime, { ...OPTIONS, ...options } as PagedKvCacheOptions);
  const fill = (page: number, value: number) =>
    cache.writePages([page], [new Uint8Array(cache.pageBytes).fill(value)]);
  for (let page = 0; page < OPTIONS.nPages; page++) fill(page, 10 + page);
  log.length = 0;
  /** The byte that each page is filled with. */
  const values = async (): Promise<number[]> => {
    const pages = await cache.readPages([...Array(OPTIONS.nPages).keys()]);
    return pages.map((page) => {
      expect(new Set(page).size).toBe(1);
      return page[0]!;
    });
  };
  return { ...ram, runtime, cache, log, fill, values };
}

const moves = (some: Partial<PageMoves>): PageMoves => ({ swapsOut: [], copies: [], swapsIn: [], ...some });

test('pages are swapped out and into other pages, and host pages are kept until they are replaced', async () => {
  const { cache, fill, values } = await setUp();
  expect(cache.hostBytes).toBe(0);
  await cache.movePages(moves({ swapsOut: [[0, 7], [3, 2]] })); // prettier-ignore
  fill(0, 1);
  fill(3, 2);
  await cache.movePages(moves({ swapsIn: [[7, 5], [2, 4]] })); // prettier-ignore
  expect(await values()).toEqual([1, 11, 12, 2, 13, 10]);
  await cache.movePages(moves({ swapsIn: Int32Array.of(7, 1) }));
  await cache.movePages(moves({ swapsOut: Uint32Array.of(2, 7) }));
  await cache.movePages(moves({ swapsIn: [[7, 0]] }));
  expect(await values()).toEqual([12, 10, 12, 2, 13, 10]);
  expect(cache.hostBytes).toBe(2 * cache.pageBytes);
  cache.destroy();
  expect(cache.hostBytes).toBe(0);
});

test('what can be submitted is submitted when the call returns: out, copies, in', async () => {
  const { cache, log } = await setUp();
  await cache.movePages(moves({ swapsOut: [[0, 0]] }));
  log.length = 0;
  const moved = cache.movePages({ swapsOut: [[1, 1]], copies: [[2, 1]], swapsIn: [[0, 2]] });
  expect(log).toEqual(['out', 'copies', 'in']);
  await moved;
  expect(log).toHaveLength(3);
});

test('a step with nothing to move asks nothing of the device', async () => {
  const { cache, log } = await setUp();
  await cache.movePages(moves({ copies: [[3, 3]] }));
  expect(log).toEqual([]);
});

test('a page is swapped out and in within one step, as it was before the copies', async () => {
  const { cache, values } = await setUp();
  await cache.movePages(moves({ swapsOut: [[0, 0]], swapsIn: [[0, 5]] }));
  expect(await values()).toEqual([10, 11, 12, 13, 14, 10]);
});

test('what has not arrived is waited for, and nothing overtakes it', async () => {
  const { cache, values, log, hold, release } = await setUp();
  hold();
  const out = cache.movePages(moves({ swapsOut: [[0, 0], [1, 1]] })); // prettier-ignore
  log.length = 0;
  const back = cache.movePages(moves({ swapsOut: [[4, 2]], copies: [[2, 3]], swapsIn: [[1, 4]] }));
  expect(log).toEqual(['out', 'copies']);
  const page = new Uint8Array(cache.pageBytes);
  const message = 'pages of an earlier movePages are still to be brought back, and must come first';
  expect(await rejection(cache.movePages(moves({})))).toContain(message);
  expect(await rejection(cache.readPages([0]))).toContain(message);
  expect(() => cache.copyPages([[0, 1]])).toThrow(message);
  expect(() => cache.writePages([0], [page])).toThrow(message);
  cache.layer(0);
  release();
  await Promise.all([out, back]);
  expect(log).toEqual(['out', 'copies', 'in']);
  expect(await values()).toEqual([10, 11, 12, 13, 11, 15]);
});

test('a page that does not arrive is named by the error, at once and when it is swapped in', async () => {
  const { cache, values, failMappings } = await setUp();
  await cache.movePages(moves({ swapsOut: [[2, 2]] }));
  failMappings('no memory');
  const lost =
    'device: PagedKvCache.movePages: what was swapped out to host pages 3, 4 did not arrive and is lost: what was read could not be mapped: no memory';
  expect(await rejection(cache.movePages(moves({ swapsOut: [[0, 3], [1, 4]] })))).toBe(lost); // prettier-ignore
  expect(await rejection(cache.movePages(moves({ swapsIn: [[2, 5], [4, 0]] })))).toBe(lost); // prettier-ignore
  // Without await, the error is thrown all the same; until it has arrived, nothing can be swapped in.
  void cache.movePages(moves({ swapsOut: [[0, 4]] }));
  const together = cache.movePages(moves({ swapsIn: [[2, 5], [4, 0]] })); // prettier-ignore
  expect(await rejection(together)).toContain('host pages 4 did not arrive');
  failMappings(undefined);
  expect(await values()).toEqual([10, 11, 12, 13, 14, 15]);
  await cache.movePages(moves({ swapsOut: [[1, 3]] }));
  await cache.movePages(moves({ swapsIn: [[3, 0]] }));
  expect(await values()).toEqual([11, 11, 12, 13, 14, 15]);
});

test('after the device is lost, a new cache goes on with the host pages', async () => {
  const { cache, hold, lose } = await setUp();
  await cache.movePages(moves({ swapsOut: [[0, 0]] }));
  hold();
  const arriving = rejection(cache.movePages(moves({ swapsOut: [[1, 1]] })));
  const waiting = rejection(cache.movePages(moves({ swapsIn: [[1, 2]] })));
  lose('it fell');
  expect(await arriving).toMatch(/^device: .*host pages 1 did not arrive and is lost: .*it fell/);
  expect(await waiting).toMatch(/^device: .*it fell/);
  expect(await rejection(cache.movePages(moves({})))).toMatch(/^device: .*it fell/);

  const next = await setUp({ hostPagesOf: cache });
  expect([cache.hostBytes, next.cache.hostBytes]).toEqual([0, 2 * cache.pageBytes]);
  await next.cache.movePages(moves({ swapsIn: [[0, 4]] }));
  expect(await next.values()).toEqual([10, 11, 12, 13, 10, 15]);
  expect(await rejection(next.cache.movePages(moves({ swapsIn: [[1, 4]] })))).toMatch(/host pages 1 did not/);
  cache.destroy();
  await next.cache.movePages(moves({ swapsIn: [[0, 5]] }));
});

test('destroyed while it waits, it writes nothing more', async () => {
  const { cache, hold, release } = await setUp();
  hold();
  void cache.movePages(moves({ swapsOut: [[0, 0]] }));
  const back = cache.movePages(moves({ swapsIn: [[0, 1]] }));
  cache.destroy();
  release();
  expect(await rejection(back)).toMatch(/^device: /);
});

test('pairs of a PageManager are moved as they come', async () => {
  const { cache, values } = await setUp();
  const pages = new PageManager({ nPages: 6, pageSize: 2, nHostPages: 4 });
  const chat = pages.add([1, 2, 3]);
  pages.reserve(chat, 3);
  pages.commit(chat);
  const swapsOut = pages.swapOut(chat);
  if (swapsOut === 'full') throw new Error('The host is full.');
  await cache.movePages(moves({ swapsOut }));
  const other = pages.add([5]);
  pages.reserve(other, 1);
  const swapsIn = pages.swapIn(chat);
  if (swapsIn === 'full') throw new Error('The pool is full.');
  await cache.movePages(moves({ swapsIn }));
  const there = await values();
  expect(swapsIn.length).toBeGreaterThan(0);
  for (const [hostPage, page] of swapsIn) {
    const [from] = swapsOut.find(([, to]) => to === hostPage)!;
    expect(there[page]).toBe(10 + from);
  }
});

test('wrong moves change nothing', async () => {
  const { cache, log, values } = await setUp();
  await cache.movePages(moves({ swapsOut: [[0, 0]] }));
  log.length = 0;
  const message = (some: object) => rejection(cache.movePages(moves(some)));
  const create = (change: object) => rejection(setUp(change));
  const destroyed = (await setUp()).cache;
  destroyed.destroy();
  expect([
    await rejection(cache.movePages('full' as never)),
    await rejection(cache.movePages({ copies: [[0, 1]] } as never)),
    await message({ swapsOut: 'full' }),
    await message({ swapsOut: [[0, 1, 2]] }),
    await message({ swapsOut: Int32Array.of(1) }),
    await message({ swapsOut: [[6, 0]] }),
    await message({ swapsOut: [[0, -1]] }),
    await message({ swapsOut: [[0, 1], [1, 1]] }), // prettier-ignore
    await message({ swapsOut: [[0, 1]], copies: [[0, 6]] }),
    await message({ swapsOut: [[0, 1]], copies: [0, 6] }),
    await message({ swapsOut: [[0, 1]], swapsIn: [[0, 6]] }),
    await message({ swapsOut: [[0, 1]], swapsIn: [[0.5, 1]] }),
    await message({ swapsOut: [[0, 1]], swapsIn: [[2, 1]] }),
    await message({ swapsOut: [[0, 1]], swapsIn: [[0, 1], [1, 1]] }), // prettier-ignore
    await create({ hostPagesOf: {} }),
    await create({ hostPagesOf: cache, headDim: 12, headDimV: 4 }),
    await create({ hostPagesOf: destroyed }),
    await rejection(destroyed.movePages(moves({}))),
  ]).toMatchInlineSnapshot(`
    [
      "argument: PagedKvCache.movePages: pass a step, { swapsOut, copies, swapsIn }, not "full".",
      "argument: PagedKvCache.movePages: swapsOut must be [[from, to], ...], an Int32Array or a Uint32Array, not undefined.",
      "argument: PagedKvCache.movePages: swapsOut must be [[from, to], ...], an Int32Array or a Uint32Array, not "full".",
      "argument: PagedKvCache.movePages: swapsOut[0] must be [from, to], not [0, 1, 2].",
      "argument: PagedKvCache.movePages: swapsOut must be two numbers a copy, from and to, but there are 1.",
      "length: PagedKvCache.movePages: the page of swapsOut[0] must be a page from 0 to 5, not 6.",
      "length: PagedKvCache.movePages: the host page of swapsOut[0] must be a whole number ≥ 0, not -1.",
      "argument: PagedKvCache.movePages: swapsOut writes host page 1 twice. Give each its own.",
      "length: PagedKvCache.movePages: copies[0] copies page 0 to page 6, but the cache has pages 0 to 5.",
      "argument: PagedKvCache.movePages: copies[0] must be [from, to], not 0.",
      "length: PagedKvCache.movePages: the page of swapsIn[0] must be a page from 0 to 5, not 6.",
      "length: PagedKvCache.movePages: the host page of swapsIn[0] must be a whole number ≥ 0, not 0.5.",
      "argument: PagedKvCache.movePages: swapsIn[0] brings back host page 2, but nothing was swapped out to it.",
      "argument: PagedKvCache.movePages: swapsIn writes page 1 twice. Give each its own.",
      "argument: PagedKvCache.create: hostPagesOf must be a PagedKvCache, not a plain object.",
      "argument: PagedKvCache.create: pages of hostPagesOf are f16 of 2 layers, [2, 1, 4] and [2, 1, 12], but those of the new cache f16 of 2 layers, [2, 1, 12] and [2, 1, 4]. Make it of the same shape.",
      "argument: PagedKvCache.create: hostPagesOf was destroyed, and its host pages with it. Destroy it afterwards.",
      "device: PagedKvCache.movePages: the cache was destroyed.",
    ]
  `);
  expect(log).toEqual([]);
  expect(cache.hostBytes).toBe(cache.pageBytes);
  expect(await values()).toEqual([10, 11, 12, 13, 14, 15]);
});
