import { expect, test } from 'vitest';
import type { Masks } from '../../src/problem/attentionProblem.js';
import { bandOfTokens, tokenPositions, type TokenSequence } from '../../src/problem/tokenMasks.js';
import { rowOf } from '../../src/reference/attend.js';
import { eachKey } from '../../src/reference/masks.js';
import { Random } from '../../tools/random.js';
import { drawTokens } from '../attention/tokenInputs.js';
import { batchOf } from './batch.js';
import { workOf } from './work.js';

test('the keys of some tokens are within their band, which is no longer where positions never fall', () => {
  const random = new Random(1);
  for (let n = 0; n < 2000; n++) {
    const [qLen, kLen] = [random.int(1, 9), random.int(0, 14)];
    const kind = random.pick(['their own', 'rising', 'any', undefined] as const);
    const hasTree = random.int(0, 4) === 0;
    const { positions, treeMask } = drawTokens(
      random,
      { positions: kind, tree: hasTree ? 'branches' : undefined },
      [[qLen, kLen]],
    );
    if (!positions && !treeMask) continue;
    const causal = random.boolean();
    const firstKey = random.int(0, Math.min(3, kLen) + 1);
    const bounds = {
      left: random.int(-1, 6),
      right: random.int(-1, 4),
      attentionChunk: random.pick([0, 0, 3]),
    };
    const masks: Masks = {
      ...bounds,
      causal,
      firstKeys: 0,
      tokens: {
        nTokens: qLen,
        sequenceTokens: 0,
        positionRows: positions ? 1 : 0,
        treeWords: treeMask ? treeMask.length / qLen : 0,
      },
    };
    const sequence: TokenSequence = {
      firstKey,
      kLen,
      qLen,
      positions: positions ? tokenPositions(positions, 0, qLen) : 'indices',
    };
    const firstToken = random.int(0, qLen);
    const lastToken = random.int(firstToken, qLen);
    const seen: number[] = [];
    for (let i = firstToken; i <= lastToken; i++) {
      const row = rowOf(
        {
          firstQuery: 0,
          nQueries: qLen,
          keyRows: Int32Array.from({ length: kLen }, (_, j) => j),
          leftpad: firstKey,
          lseIndex: () => 0,
        },
        i,
        {
          causal,
          windowSize: [bounds.left, bounds.right],
          attentionChunk: bounds.attentionChunk,
          ...(positions && { positions }),
          ...(treeMask && { treeMask }),
        },
        qLen,
      );
      eachKey(row.ranges, (j) => {
        if (row.sees(j)) seen.push(j);
      });
    }
    const want = [Math.min(...seen), Math.max(...seen)] as const;
    const [first, last] = bandOfTokens(sequence, masks, firstToken, lastToken);
    const unknown = bandOfTokens({ firstKey, kLen, qLen }, masks, firstToken, lastToken);
    for (const band of [[first, last], unknown]) {
      if (seen.length === 0) continue;
      expect(band[0]!, `case ${n}`).toBeLessThanOrEqual(want[0]);
      expect(band[1]!, `case ${n}`).toBeGreaterThanOrEqual(want[1]);
      expect(band[0]!).toBeGreaterThanOrEqual(0);
      expect(band[1]!).toBeLessThan(kLen);
    }
    // One token's keys are all that counts; of several, chunks may hide what lies between.
    const isExact = !hasTree && (kind === undefined || kind !== 'any') && firstToken === lastToken;
    if (isExact && seen.length > 0) expect([first, last], `case ${n}`).toEqual(want);
    if (isExact && seen.length === 0) expect(last, `case ${n}`).toBeLessThan(first);
  }
});

test('positions that are known shorten the work of a window, and others do not', () => {
  const own = Int32Array.from({ length: 32 }, (_, i) => 288 + i);
  const window = { left: 40, right: -1, causal: true };
  const tilesOf = (positions: Int32Array) =>
    workOf([[32, 320]], { masks: window, tokens: { positions }, numSplits: 1 }).lists.map(({ keyTiles }) => [
      ...keyTiles,
    ]);
  const without = workOf([[32, 320]], { masks: { left: 40, right: 0 }, numSplits: 1 }).lists.map(
    ({ keyTiles }) => [...keyTiles],
  );
  expect(tilesOf(own)).toEqual(without);
  // From slot 60 on.
  expect(tilesOf(own.map((position) => position - 188))[0]![0]).toBeGreaterThan(without[0]![0]!);
});

test('chunks of a tree are planned as for all of its keys', () => {
  const tree = new Uint32Array(8).fill(255);
  const { problem, lengths } = batchOf([[8, 300]], { tokens: { tree } });
  expect(lengths.tokens!.tree).toBe(tree);
  expect(problem.masks.tokens).toMatchObject({ treeWords: 1, positionRows: 0 });
  const tiles = (options: object) => workOf([[8, 300]], options).lists.map(({ keyTiles }) => [...keyTiles]);
  expect(tiles({ tokens: { tree }, masks: { causal: true } })).toEqual(tiles({}));
});
