import { describe, expect, test } from 'vitest';
import { decode, isQuantised, type FloatDType } from '../../src/core/dtype.js';
import type { KnownAnswer } from '../../src/core/knownAnswer.js';
import { unpackCodes } from '../../src/core/kvFormats.js';
import type { Tensor } from '../../src/core/tensor.js';
import { knownAttention } from '../../src/plan/knownAttention.js';
import { planAttention } from '../../src/plan/planAttention.js';
import type { AttentionProblem, HostLengths } from '../../src/problem/attentionProblem.js';
import { attnVarlenReference, type AttentionResult, type HostTensor } from '../../src/reference/attention.js';
import { traitsOf } from './traits.js';

const T2 = traitsOf({
  tier: 'T2',
  matrices: { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 },
});

interface Planned {
  readonly answer: KnownAnswer;
  readonly problem: AttentionProblem<null>;
  readonly lengths: HostLengths;
}

/** All answers, with the problems that they belong to: as if all kernels used matrices. */
function allAnswers(): Planned[] {
  let problem: AttentionProblem<null>;
  let lengths: HostLengths;
  const answers = knownAttention(T2, (...planned) => {
    const [, , { matrices, ...traits }] = planned;
    [problem, lengths] = planned;
    const deviceClass = matrices ? 'software' : 'gpu';
    return planAttention(problem, lengths, { ...traits, matrices, deviceClass });
  });
  return Array.from(answers, (answer) => ({ answer, problem, lengths }));
}

const ALL = allAnswers();
const NAMED = ALL.map((each) => [each.answer.name, each] as const);

/** What a placeholder holds. */
function contentsOf({ inputs }: KnownAnswer, tensor: Tensor, scales?: Tensor): HostTensor {
  const { dtype, shape } = tensor;
  const stored = inputs.get(tensor);
  if (!isQuantised(dtype))
    return { shape, data: Float64Array.from(decode(dtype as FloatDType, stored as Uint16Array)) };
  const codes = Float64Array.from(unpackCodes(dtype, stored as Uint8Array));
  const factors = decode('f16', inputs.get(scales!) as Uint16Array);
  const data = codes.map((code, i) => code * factors[Math.floor((i * factors.length) / codes.length)]!);
  return { shape, data };
}

function rowsOf({ answer, problem }: Planned, which: 'k' | 'v'): HostTensor {
  const { scales } = problem;
  const ofRows = scales?.per === 'token' ? scales[which].tensor : undefined;
  return contentsOf(answer, problem[which].tensor, ofRows);
}

/** The call by the reference, with other keys or values than its own. */
function reference(
  planned: Planned,
  instead: { readonly k?: HostTensor; readonly v?: HostTensor } = {},
): AttentionResult {
  const { answer, problem, lengths } = planned;
  const { q, pages, masks, softmaxScale } = problem;
  return attnVarlenReference({
    q: contentsOf(answer, q.tensor),
    k: rowsOf(planned, 'k'),
    v: rowsOf(planned, 'v'),
    ...instead,
    cuSeqlensQ: runningSums(lengths.qLen),
    cuSeqlensK: runningSums(lengths.kLen),
    ...(pages && { blockTable: [...(pages.table as Int32Array)] }),
    softmaxScale,
    causal: masks.right === 0,
    windowSize: [masks.left, -1],
  });
}

function runningSums(counts: Int32Array): number[] {
  const sums = [0];
  for (const count of counts) sums.push(sums.at(-1)! + count);
  return sums;
}

/** The largest difference of results over what they may be off by. */
function inTolerances({ outputs }: KnownAnswer, { out, lse }: AttentionResult): number {
  const each = outputs.map(({ expected, tolerance }, i) => {
    const { data } = [out, lse][i]!;
    expect(data.length).toBe(expected.length);
    return Math.max(...Array.from(expected, (x, at) => Math.abs(x - data[at]!) / tolerance));
  });
  return Math.max(...each);
}

test.each(NAMED)('"%s" has the answers of the reference', (_, each) => {
  expect(inTolerances(each.answer, reference(each))).toBeLessThan(1e-8);
});

/** A tensor of keys or values, with each row that is there in the place of the one so many behind it. */
function shifted({ data, shape }: HostTensor, by: number): HostTensor {
  const length = shape.slice(-2).reduce((size, n) => size * n, 1);
  const moved = data.map((x, i) => {
    const other = data[i + by * length];
    return other === undefined || Number.isNaN(other) ? x : other;
  });
  return { shape, data: moved };
}

describe('answers are others by far', () => {
  test.each(NAMED)('with the keys or the values of another tile: "%s"', (_, each) => {
    for (const by of [8, 32]) {
      const k = shifted(rowsOf(each, 'k'), by);
      const v = shifted(rowsOf(each, 'v'), by);
      expect(inTolerances(each.answer, reference(each, { k }))).toBeGreaterThan(10);
      expect(inTolerances(each.answer, reference(each, { v }))).toBeGreaterThan(10);
    }
  });
});

test.each(NAMED)('what no query of "%s" sees is NaN', (_, each) => {
  const used = each.lengths.kLen.reduce((sum, n) => sum + n, 0);
  for (const which of ['k', 'v'] as const) {
    const { data, shape } = rowsOf(each, which);
    const perToken = shape.at(-1)! * shape.at(-2)!;
    const unused = data.filter(Number.isNaN).length;
    expect(unused).toBeGreaterThan(0);
    expect(data.length - unused).toBe(used * perToken);
  }
});

test('maxima that grow do so by far, again and again, and not in all rows of a tile', () => {
  const { answer, problem } = ALL.find(({ answer: { name } }) => name === 'scores that grow')!;
  const q = contentsOf(answer, problem.q.tensor);
  const k = contentsOf(answer, problem.k.tensor);
  const [nRows, nKeys, d] = [40 * 2, 260, 64];
  const score = (row: number, key: number): number => {
    let sum = 0;
    for (let i = 0; i < d; i++) sum += q.data[row * d + i]! * k.data[key * d + i]!;
    return sum * problem.softmaxScale * Math.LOG2E;
  };
  for (const tileKeys of [16, 32, 64]) {
    const growths = Array.from({ length: nRows }, (_, row) => {
      let maximum = -Infinity;
      const grown: number[] = [];
      for (let first = 0; first < nKeys; first += tileKeys) {
        const before = maximum;
        for (let key = first; key < Math.min(first + tileKeys, nKeys); key++)
          maximum = Math.max(maximum, score(row, key));
        if (before > -Infinity && maximum > before + 10) grown.push(first);
      }
      return grown;
    });
    const tiles = new Set(growths.flat());
    expect(tiles.size).toBeGreaterThan(1);
    for (const tile of tiles) expect(growths.every((grown) => grown.includes(tile))).toBe(false);
  }
});

test('calls that are planned alike with matrices and without are no test of them', () => {
  expect([
    ...knownAttention(T2, (problem, lengths, traits) =>
      planAttention(problem, lengths, { ...traits, matrices: null }),
    ),
  ]).toEqual([]);
});
