import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { crc32 } from '../../src/cache/crc32.js';
import type { SaveSource } from '../../src/cache/savedSequence.js';
import { refusal, rejection } from '../check/refusal.js';
import { bytesOf, FINGERPRINT, SavedChats, SHAPE } from './savedChats.js';

const TOKENS = [3, -1, 4, 1, 5, 9, 2, 6, 5, 3, 5];

/** The bytes of a chat of 11 tokens, 10 of which are computed, in 3 pages. */
async function savedBytes(options: object = {}): Promise<Uint8Array<ArrayBuffer>> {
  const chats = await SavedChats.create(options);
  const { cache, pages } = chats;
  return bytesOf(cache.save({ pages, sequence: await chats.chat(TOKENS, 10), fingerprint: FINGERPRINT }));
}

/** Where the description ends, and its fields. */
function descriptionOf(bytes: Uint8Array): {
  readonly end: number;
  readonly fields: Record<string, unknown>;
} {
  const end = 16 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(12, true);
  return {
    end,
    fields: JSON.parse(new TextDecoder().decode(bytes.subarray(16, end))) as Record<string, unknown>,
  };
}

/** The same bytes with another description, and a checksum that says so. */
function redescribed(bytes: Uint8Array, change: object): Uint8Array<ArrayBuffer> {
  const { end, fields } = descriptionOf(bytes);
  const json = new TextEncoder().encode(JSON.stringify({ ...fields, ...change }));
  const head = new Uint8Array(16 + json.length + 4);
  const words = new DataView(head.buffer);
  head.set(bytes.subarray(0, 12));
  words.setUint32(12, json.length, true);
  head.set(json, 16);
  words.setUint32(16 + json.length, crc32(head.subarray(0, 16 + json.length)), true);
  return Uint8Array.from([...head, ...bytes.subarray(end + 4)]);
}

test('checksums are CRC-32, also of bytes in parts', () => {
  const bytes = new TextEncoder().encode('123456789');
  expect(crc32(bytes)).toBe(0xcbf43926);
  for (let at = 0; at <= 9; at++)
    expect(crc32(bytes.subarray(at), crc32(bytes.subarray(0, at)))).toBe(0xcbf43926);
  expect(crc32(new Uint8Array())).toBe(0);
});

describe('the format', () => {
  test('is what it is documented to be', async () => {
    const bytes = await savedBytes();
    const words = new DataView(bytes.buffer);
    expect([...bytes.subarray(0, 8)]).toEqual([0x89, 0x50, 0x46, 0x4b, 0x56, 13, 10, 26]);
    expect(words.getUint32(8, true)).toBe(1);
    const { end, fields } = descriptionOf(bytes);
    expect(fields).toEqual({
      fingerprint: FINGERPRINT,
      ...SHAPE,
      nTokens: 11,
      salt: 0,
      isPrivate: false,
      nComputed: 10,
      nOnceComputed: 10,
      firstColumn: 0,
      // Pages of 2 layers, [4, 1, 3] and [4, 1, 5] halves, each filled up to 16 bytes.
      pagesPerPiece: 2 ** 22 / 160 - ((2 ** 22 / 160) % 1),
    });
    expect(words.getUint32(end, true)).toBe(crc32(bytes.subarray(0, end)));
    const tokens = end + 4;
    expect(Array.from(TOKENS, (_, i) => words.getInt32(tokens + 4 * i, true))).toEqual(TOKENS);
    const pages = tokens + 44 + 4;
    expect(bytes.length).toBe(pages + 3 * 160 + 4);
    const all = [
      ...bytes.subarray(0, end),
      ...bytes.subarray(tokens, pages - 4),
      ...bytes.subarray(pages, -4),
    ];
    expect(words.getUint32(bytes.length - 4, true)).toBe(crc32(Uint8Array.from(all)));
    // The last page has two tokens of four: 12 bytes of keys, 20 of values.
    const last = [...bytes.subarray(pages + 320, pages + 480)].map((byte) => Math.min(byte, 1));
    const part = (nUsed: number, nBytes: number) =>
      Array.from({ length: nBytes }, (_, i) => (i < nUsed ? 1 : 0));
    expect(last).toEqual([...part(12, 32), ...part(20, 48), ...part(12, 32), ...part(20, 48)]);
  });

  test('has no more than some MB in a chunk, and reads them as they are asked for', async () => {
    const chats = await SavedChats.create({
      nLayers: 1,
      headDim: 512,
      headDimV: 512,
      pageSize: 512,
      nPages: 8,
    });
    const { cache, pages, ram } = chats;
    expect(cache.pageBytes).toBe(2 ** 20);
    const chat = pages.add(Array.from({ length: 7 * 512 }, (_, i) => i));
    pages.reserve(chat);
    pages.commit(chat);
    const before = ram.nCopied();
    const reader = cache.save({ pages, sequence: chat, fingerprint: FINGERPRINT }).getReader();
    const lengths: number[] = [];
    const copied: number[] = [];
    for (let chunk = await reader.read(); chunk.value; chunk = await reader.read()) {
      lengths.push(chunk.value.length);
      copied.push(ram.nCopied() - before);
    }
    expect(lengths.slice(1)).toEqual([2 ** 22 + 4, 3 * 2 ** 20 + 4]);
    expect(copied).toEqual([0, 2 ** 22, 7 * 2 ** 20]);
    expect(pages.snapshot().pins).toEqual([]);
  });
});

describe('what is refused', () => {
  const read = async (
    source: SaveSource,
    change: object = {},
    fingerprint = FINGERPRINT,
  ): Promise<string> => {
    const { cache } = await SavedChats.create(change);
    return rejection(cache.readSaved({ source, fingerprint }));
  };

  test('a cache whose heads are turned, and one whose heads are not', async () => {
    const shape = { dtype: 'i8', headDim: 4, headDimV: 4 } as const;
    const turned = { ...shape, kvRotation: 'hadamard' } as const;
    expect([await read([await savedBytes(shape)], turned), await read([await savedBytes(turned)], shape)])
      .toMatchInlineSnapshot(`
      [
        "argument: PagedKvCache.readSaved: source was saved with kvRotation none, but is to be restored with kvRotation hadamard. Compute its tokens again.",
        "argument: PagedKvCache.readSaved: source was saved with kvRotation hadamard, but is to be restored with kvRotation none. Compute its tokens again.",
      ]
    `);
    const { cache } = await SavedChats.create(turned);
    const saved = await cache.readSaved({ source: [await savedBytes(turned)], fingerprint: FINGERPRINT });
    expect(saved.tokens.length).toBeGreaterThan(0);
  });

  test('another format, fingerprint or shape, with both values', async () => {
    const bytes = await savedBytes();
    const text = new TextEncoder().encode('It was a dark and stormy night.');
    const newer = bytes.slice();
    newer[8] = 2;
    const long = bytes.slice();
    long[15] = 1;
    expect([
      await read([text]),
      await read([newer]),
      await read([long]),
      await read([bytes], {}, 'tiny model, f32'),
      await read([bytes], { dtype: 'bf16' }),
      await read([bytes], { nLayers: 1, nKvHeads: 2, headDim: 4, headDimV: 4 }),
      await read([bytes], { pageSize: 8 }, 'other'),
      await read([bytes], { nPages: 2 }),
    ]).toMatchInlineSnapshot(`
      [
        "argument: PagedKvCache.readSaved: source is no saved sequence: it begins with 49 74 20 77 61 73 20 61, not 89 50 46 4b 56 0d 0a 1a.",
        "argument: PagedKvCache.readSaved: source has format 2, but this version of pageflash reads 1. Save it again.",
        "argument: PagedKvCache.readSaved: source is damaged: its description would have 16777438 bytes, more than 65536.",
        "argument: PagedKvCache.readSaved: source was saved with fingerprint "tiny model, f16", but is to be restored with fingerprint "tiny model, f32". Compute its tokens again.",
        "argument: PagedKvCache.readSaved: source was saved with dtype f16, but is to be restored with dtype bf16. Compute its tokens again.",
        "argument: PagedKvCache.readSaved: source was saved with nLayers 2, nKvHeads 1, headDim 3, headDimV 5, but is to be restored with nLayers 1, nKvHeads 2, headDim 4, headDimV 4. Compute its tokens again.",
        "argument: PagedKvCache.readSaved: source was saved with fingerprint "tiny model, f16", pageSize 4, but is to be restored with fingerprint "other", pageSize 8. Compute its tokens again.",
        "limit: PagedKvCache.readSaved: source has 3 pages, but the cache 2. Make a larger one.",
      ]
    `);
  });

  test('what is damaged, cut off or too long', async () => {
    const bytes = await savedBytes();
    const flipped = (at: number) => bytes.map((byte, i) => (i === at ? byte ^ 16 : byte));
    expect([
      await read([]),
      await read([bytes.subarray(0, 10)]),
      await read([bytes.subarray(0, 300)]),
      await read([bytes.subarray(0, -1)]),
      await read([bytes, new Uint8Array(3)]),
      await read([flipped(40)]),
      await read([flipped(descriptionOf(bytes).end + 10)]),
      await read([flipped(bytes.length - 100)]),
      await read([flipped(bytes.length - 1)]),
      await read(new Blob([flipped(bytes.length - 100)])),
    ]).toMatchInlineSnapshot(`
      [
        "argument: PagedKvCache.readSaved: source is not whole: it ends after 0 bytes, where 16 more are needed at least. Compute the tokens again.",
        "argument: PagedKvCache.readSaved: source is not whole: it ends after 10 bytes, where 6 more are needed at least. Compute the tokens again.",
        "argument: PagedKvCache.readSaved: source is not whole: it ends after 300 bytes, where 470 more are needed at least. Compute the tokens again.",
        "argument: PagedKvCache.readSaved: source is not whole: it ends after 773 bytes, where 1 more are needed at least. Compute the tokens again.",
        "argument: PagedKvCache.readSaved: source goes on behind its 774 bytes. Pass the stream of one sequence.",
        "argument: PagedKvCache.readSaved: source is damaged: the checksum before byte 242 is 68dee72c, but that of what was read is e59d27c1. Compute the tokens again.",
        "argument: PagedKvCache.readSaved: source is damaged: the checksum before byte 290 is 2a5efec5, but that of what was read is 9fec0da8. Compute the tokens again.",
        "argument: PagedKvCache.readSaved: source is damaged: the checksum before byte 774 is d4822318, but that of what was read is 4980c1b2. Compute the tokens again.",
        "argument: PagedKvCache.readSaved: source is damaged: the checksum before byte 774 is c4822318, but that of what was read is d4822318. Compute the tokens again.",
        "argument: PagedKvCache.readSaved: source is damaged: the checksum before byte 774 is d4822318, but that of what was read is 4980c1b2. Compute the tokens again.",
      ]
    `);
  });

  test('a description that cannot be, though its checksum is right', async () => {
    const bytes = await savedBytes();
    expect(
      await Promise.all(
        [
          { nTokens: -1 },
          { nTokens: 9 },
          { nComputed: 11 },
          { nOnceComputed: 12 },
          { firstColumn: 3 },
          { salt: 2 ** 31 },
          { isPrivate: 1 },
          { pagesPerPiece: 0 },
          { dtype: undefined },
          { fingerprint: null },
        ].map((change) => read([redescribed(bytes, change)])),
      ),
    ).toMatchInlineSnapshot(`
      [
        "argument: PagedKvCache.readSaved: source has a wrong description: nTokens is -1.",
        "argument: PagedKvCache.readSaved: source has a wrong description: nOnceComputed is 10.",
        "argument: PagedKvCache.readSaved: source has a wrong description: nComputed is 11.",
        "argument: PagedKvCache.readSaved: source has a wrong description: nOnceComputed is 12.",
        "argument: PagedKvCache.readSaved: source has a wrong description: firstColumn is 3.",
        "argument: PagedKvCache.readSaved: source has a wrong description: salt is 2147483648.",
        "argument: PagedKvCache.readSaved: source has a wrong description: isPrivate is 1.",
        "argument: PagedKvCache.readSaved: source has a wrong description: pagesPerPiece is 0.",
        "argument: PagedKvCache.readSaved: source has a wrong description: dtype is undefined.",
        "argument: PagedKvCache.readSaved: source has a wrong description: fingerprint is null.",
      ]
    `);
    expect(await read([redescribed(bytes, { nTokens: 2 ** 31 - 1 })])).toMatch(
      /^(limit|argument): .*(memory|not whole)/,
    );
  });

  test('wrong arguments', async () => {
    const chats = await SavedChats.create();
    const { cache, pages } = chats;
    const chat = await chats.chat(TOKENS, 10);
    const saved = await cache.readSaved({ source: [await savedBytes()], fingerprint: FINGERPRINT });
    const other = await SavedChats.create({ pageSize: 8 });
    const larger = await SavedChats.create({ nPages: 32 });
    const args = { pages, sequence: chat, fingerprint: FINGERPRINT };
    const save = (change: object) => refusal(() => cache.save({ ...args, ...change }));
    const restore = (change: object) => rejection(cache.restore({ pages, saved, ...change } as never));
    const before = JSON.stringify(pages.snapshot());
    expect([
      save({ pages: undefined }),
      save({ pages: other.pages }),
      save({ pages: larger.pages }),
      save({ fingerprint: '' }),
      save({ fingerprint: undefined }),
      save({ fingerprint: 'x'.repeat(5000) }),
      save({ sequence: undefined }),
      save({ tokens: [1] }),
      save({ salt: 1 }),
      save({ sequence: undefined, tokens: [0.5] }),
      save({ sequence: 7 }),
      save({ finger: 1 }),
      await rejection(cache.readSaved({ source: 7 as never, fingerprint: FINGERPRINT })),
      await rejection(cache.readSaved({ source: new Uint8Array(9) as never, fingerprint: FINGERPRINT })),
      await rejection(cache.readSaved({ source: [7] as never, fingerprint: FINGERPRINT })),
      await rejection(cache.readSaved({ source: [], fingerprint: 7 as never })),
      await rejection(cache.readSaved({ source: [], fingerprint: 'x', signal: 7 as never })),
      await rejection(cache.readSaved(undefined as never)),
      await rejection(cache.restore(undefined as never)),
      await restore({ pages: other.pages }),
      await restore({ saved: undefined }),
      await restore({ priority: 1 }),
      await restore({ priority: NaN }),
      await restore({ salt: 0.5 }),
      await restore({ isPrivate: 1 }),
      await restore({ from: 1 }),
      await rejection(other.cache.restore({ pages: other.pages, saved })),
    ]).toMatchInlineSnapshot(`
      [
        "argument: PagedKvCache.save: pages must be a PageManager, not undefined.",
        "argument: PagedKvCache.save: pages has pages of 8 tokens, but the cache of 4. Pass the manager of this cache.",
        "argument: PagedKvCache.save: pages has 32 pages, but the cache 16. Pass the manager of this cache.",
        "argument: PagedKvCache.save: fingerprint must be a string of 1 to 4096 letters, not "".",
        "argument: PagedKvCache.save: fingerprint must be a string of 1 to 4096 letters, not undefined.",
        "argument: PagedKvCache.save: fingerprint must be a string of 1 to 4096 letters, not "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…".",
        "argument: PagedKvCache.save: pass one of sequence and tokens.",
        "argument: PagedKvCache.save: pass one of sequence and tokens.",
        "argument: PagedKvCache.save: salt goes with tokens. A sequence has its own.",
        "argument: PagedKvCache.save: tokens[0] must be a whole number of 32 bits, not 0.5.",
        "argument: PagedKvCache.save: there is no sequence 7. Pass the id of one that was started.",
        "argument: PagedKvCache.save: there is no argument finger. There are sequence, tokens, salt, pages, fingerprint.",
        "argument: PagedKvCache.readSaved: source must be a Blob, a ReadableStream or an iterable of Uint8Arrays, not 7.",
        "argument: PagedKvCache.readSaved: source must be a Blob, a ReadableStream or an iterable of Uint8Arrays, not a Uint8Array.",
        "argument: PagedKvCache.readSaved: source must have chunks of Uint8Array, not 7.",
        "argument: PagedKvCache.readSaved: fingerprint must be a string of 1 to 4096 letters, not 7.",
        "argument: PagedKvCache.readSaved: signal must be an AbortSignal, not 7.",
        "argument: PagedKvCache.readSaved: the arguments must be one object, not undefined.",
        "argument: PagedKvCache.restore: the arguments must be one object, not undefined.",
        "argument: PagedKvCache.restore: pages has pages of 8 tokens, but the cache of 4. Pass the manager of this cache.",
        "argument: PagedKvCache.restore: saved must be what readSaved has given, not undefined.",
        "argument: PagedKvCache.restore: priority is for the sequences of a StepPlanner, but pages has none.",
        "argument: PagedKvCache.restore: priority must be a finite number, not NaN.",
        "argument: PagedKvCache.restore: salt must be a whole number of 32 bits, not 0.5.",
        "argument: PagedKvCache.restore: isPrivate must be true or false, not 1.",
        "argument: PagedKvCache.restore: there is no argument from. There are pages, saved, salt, isPrivate, priority, signal.",
        "argument: PagedKvCache.restore: source was saved with pageSize 4, but is to be restored with pageSize 8. Compute its tokens again.",
      ]
    `);
    expect(JSON.stringify(pages.snapshot())).toBe(before);
  });

  test('a sequence in flight, one whose copies to the host were never made, and a cache that is gone', async () => {
    const chats = await SavedChats.create({ nHostPages: 4 });
    const { cache, pages } = chats;
    const chat = await chats.chat(TOKENS, 10);
    const save = () => refusal(() => cache.save({ pages, sequence: chat, fingerprint: FINGERPRINT }));
    pages.reserve(chat);
    const inFlight = save();
    pages.commit(chat);
    pages.swapOut(chat);
    const messages = [inFlight, save()];
    cache.destroy();
    messages.push(save(), await rejection(cache.readSaved({ source: [], fingerprint: 'x' })));
    expect(messages).toMatchInlineSnapshot(`
      [
        "argument: PagedKvCache.save: sequence 0 has 1 tokens in flight. Commit them first.",
        "argument: PagedKvCache.save: the sequence is in host memory, but nothing was swapped out to host page 0. Make the copies of swapOut first.",
        "device: PagedKvCache.save: the cache was destroyed.",
        "device: PagedKvCache.readSaved: the cache was destroyed.",
      ]
    `);
  });
});

test(
  'whatever is changed or missing, nothing is restored, and nothing has changed',
  { timeout: 60_000 },
  async () => {
    const bytes = await savedBytes();
    const { cache, pages } = await SavedChats.create();
    const before = JSON.stringify(pages.snapshot());
    const [...untouched] = await cache.readPages([...Array(16).keys()]);
    const flips = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 5,
    });
    const damage = fc.oneof(
      flips.map((list) => {
        const damaged = bytes.slice();
        for (const [at, mask] of list) damaged[at]! ^= mask;
        return damaged;
      }),
      fc.nat(bytes.length - 1).map((length) => bytes.slice(0, length)),
      fc
        .tuple(fc.nat(bytes.length), fc.nat(bytes.length))
        .map(([a, b]) =>
          Uint8Array.from([...bytes.subarray(0, Math.min(a, b)), ...bytes.subarray(Math.max(a, b))]),
        ),
      fc
        .tuple(fc.nat(bytes.length), fc.uint8Array({ minLength: 1 }))
        .map(([at, more]) => Uint8Array.from([...bytes.subarray(0, at), ...more, ...bytes.subarray(at)])),
      fc.uint8Array({ maxLength: 64 }).map((any) => new Uint8Array(any)),
    );
    const property = fc.asyncProperty(damage, fc.boolean(), async (damaged, isBlob) => {
      fc.pre(damaged.length !== bytes.length || damaged.some((byte, i) => byte !== bytes[i]));
      const source = isBlob ? new Blob([damaged]) : [damaged];
      expect(await rejection(cache.readSaved({ source, fingerprint: FINGERPRINT }))).toMatch(
        /^(argument|limit): PagedKvCache/,
      );
    });
    await fc.assert(property, { numRuns: 500, seed: 1 });
    for (let length = 0; length < bytes.length; length++)
      expect(
        await rejection(cache.readSaved({ source: [bytes.subarray(0, length)], fingerprint: FINGERPRINT })),
      ).toContain('not whole');
    expect(JSON.stringify(pages.snapshot())).toBe(before);
    expect(await cache.readPages([...Array(16).keys()])).toEqual(untouched);
  },
);

describe('sources', () => {
  /** The bytes in chunks of any size, with a word of how the source was left. */
  function inChunks(bytes: Uint8Array<ArrayBuffer>, size: number) {
    const log: string[] = [];
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    async function* generate() {
      try {
        for (const piece of pieces) yield await Promise.resolve(piece);
        log.push('read');
      } finally {
        log.push('left');
      }
    }
    let next = 0;
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: (controller) => (next < pieces.length ? controller.enqueue(pieces[next++]!) : controller.close()),
      cancel: () => void log.push('cancelled'),
    });
    return { pieces, generate, stream, log };
  }

  test('chunks of any size, from streams, generators, arrays and blobs', async () => {
    const bytes = await savedBytes();
    for (const size of [1, 3, 7, 160, 10_000]) {
      const { pieces, generate, stream } = inChunks(bytes, size);
      for (const source of [pieces, generate(), stream, new Blob(pieces), [new Uint8Array(), ...pieces]]) {
        const { cache, pages } = await SavedChats.create();
        const saved = await cache.readSaved({ source, fingerprint: FINGERPRINT });
        expect(saved).toMatchObject({
          nComputed: 10,
          nOnceComputed: 10,
          nPages: 3,
          bytes: bytes.length,
          salt: 0,
        });
        expect([...saved.tokens]).toEqual(TOKENS);
        const sequence = (await cache.restore({ pages, saved })) as number;
        expect(await bytesOf(cache.save({ pages, sequence, fingerprint: FINGERPRINT }))).toEqual(bytes);
      }
    }
  });

  test('a source is left when it is refused, and when reading is aborted', async () => {
    const bytes = await savedBytes();
    const { cache } = await SavedChats.create();
    const damaged = bytes.map((byte, i) => (i === 20 ? byte ^ 1 : byte));
    const read = (source: SaveSource, signal?: AbortSignal) =>
      cache.readSaved({ source, fingerprint: FINGERPRINT, ...(signal && { signal }) });
    const wrong = inChunks(damaged, 64);
    await rejection(read(wrong.generate()));
    await rejection(read(wrong.stream));
    expect(wrong.log).toEqual(['left', 'cancelled']);
    const right = inChunks(bytes, 64);
    await read(right.generate());
    await read(right.stream);
    expect(right.log).toEqual(['read', 'left']);
    const stopped = inChunks(bytes, 64);
    const reason = new Error('enough');
    await expect(read(stopped.stream, AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const slow = (async function* () {
      yield bytes.subarray(0, 100);
      controller.abort(reason);
      yield bytes.subarray(100);
    })();
    await expect(read(slow, controller.signal)).rejects.toBe(reason);
    expect(stopped.log).toEqual([]);
  });

  test("a source's own error is thrown as it is", async () => {
    const { cache } = await SavedChats.create();
    const error = new TypeError('network');
    const failing = new ReadableStream({ pull: (controller) => controller.error(error) });
    await expect(cache.readSaved({ source: failing, fingerprint: FINGERPRINT })).rejects.toBe(error);
  });
});
