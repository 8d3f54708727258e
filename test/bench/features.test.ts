import { describe, expect, test } from 'vitest';
import {
  caseName,
  featureCases,
  isPrompt,
  lengthOf,
  type CaseOptions,
  type FeatureCase,
} from '../../bench/cases/cases.js';
import { FEATURE_SHAPES, OWN_TOKENS, type CallSize } from '../../bench/cases/featureShapes.js';
import { featureWorkload } from '../../bench/cases/featureWorkload.js';
import { checkAgainstPeer, type Implementation } from '../../bench/cases/workload.js';
import { measureCase } from '../../bench/device/measureCase.js';
import { onPaperOf } from '../../bench/report/featureSection.js';
import { createRuntime } from '../../src/index.js';
import { download } from '../../tools/deviceTensor.js';
import { deviceOnCpu } from './deviceOnCpu.js';

const OPTIONS: CaseOptions = { software: true, dtype: 'f32', shapes: [], quick: false, full: false };

/** ms, for a busy machine. */
const SLOW = 120_000;

describe('rows of options', () => {
  const names = (options: Partial<CaseOptions>) => featureCases({ ...OPTIONS, ...options }).map(caseName);

  test('every run has all of them, a quick one on a software adapter one', () => {
    const all = FEATURE_SHAPES.map(({ name }) => name);
    expect(names({})).toEqual(all);
    expect(names({ quick: true })).toEqual(['kv-i8']);
    expect(names({ quick: true, software: false })).toEqual(all);
  });

  test('a family or a row may be named', () => {
    expect(names({ shapes: ['prefix', 'tree-64'] })).toEqual([
      'tree-64',
      'prefix-2',
      'prefix-8',
      'prefix-32',
    ]);
    expect(names({ shapes: ['decode-long'] })).toEqual([]);
  });

  test('software adapters get fewer heads and tokens, unless there is --full', () => {
    const [scaled] = featureCases({ ...OPTIONS, shapes: ['mask'] });
    expect(scaled).toMatchObject({ nHeads: 4, nKvHeads: 1, nKeys: 1024, scaled: true });
    const [full] = featureCases({ ...OPTIONS, full: true, shapes: ['mask'] });
    expect(full).toMatchObject({ nHeads: 32, nKvHeads: 8, nKeys: 4096, scaled: false });
  });

  test('formats are compared in types of two bytes, the others in that of the run', () => {
    const dtypes = (dtype: CaseOptions['dtype']) =>
      featureCases({ ...OPTIONS, dtype, shapes: ['kv-i4', 'bias'] }).map((one) => one.dtype);
    expect(dtypes('f32')).toEqual(['f16', 'f32']);
    expect(dtypes('bf16')).toEqual(['bf16', 'bf16']);
  });

  test('lengths are tokens of a prompt, or sequences × keys', () => {
    const lengths = featureCases({ ...OPTIONS, shapes: ['bias', 'tree-16', 'prefix-8'] }).map(lengthOf);
    expect(lengths).toEqual(['1024', '1 × 4096', '8 × 2176']);
  });
});

/** A row of few tokens and small heads. */
function tiny(shape: string): FeatureCase {
  const [benchCase] = featureCases({ ...OPTIONS, shapes: [shape] });
  return { ...benchCase!, nHeads: 2, nKvHeads: 1, headDim: 32, ...tinySize(benchCase!) };
}

function tinySize(benchCase: FeatureCase): CallSize {
  const { batch, nQueries, feature } = benchCase;
  if (isPrompt(benchCase)) return { batch, nQueries: 32, nKeys: 32 };
  const few = { batch: Math.min(batch, 3), nQueries: Math.min(nQueries, 6) };
  return { ...few, nKeys: feature.name === 'sharedPrefix' ? OWN_TOKENS + 64 : 48 };
}

/** A row of each option; a step rather than a prompt, which takes longer. */
const EACH = featureCases(OPTIONS)
  .toSorted((a, b) => Number(isPrompt(a)) - Number(isPrompt(b)))
  .filter(({ feature }, i, all) => i === all.findIndex((other) => sameFeature(other.feature, feature)))
  .map(({ shape }) => shape);

function sameFeature(a: FeatureCase['feature'], b: FeatureCase['feature']): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

describe('each option on the CPU', () => {
  test.each([...EACH, 'prompt-i8'])(
    '%s: both calls are right, and a wrong one is found',
    async (name) => {
      const benchCase = tiny(name);
      const device = deviceOnCpu();
      const workload = featureWorkload(device, benchCase);
      const { outShape, pageflash, peers } = workload;
      const [plain] = peers;
      const outOf = ({ prepare }: Implementation) => {
        const runtime = createRuntime(device);
        const out = runtime.createTensor(outShape, benchCase.dtype, 'out');
        prepare(runtime, out)();
        return download(device, out);
      };
      const own = await outOf(pageflash);
      const other = await outOf(plain!);
      expect(workload.check(own).against).toBe('reference');
      if (plain!.check) {
        plain!.check(other);
        // The option changes something, which the check sees.
        expect(() => workload.check(other)).toThrow('pageflash and reference disagree');
      } else {
        checkAgainstPeer('plain', own, other, benchCase.dtype);
        expect(() => workload.check(other.map((x) => x + 0.1))).toThrow('pageflash and reference disagree');
      }
    },
    SLOW,
  );
});

describe('measuring a row', () => {
  const effort = { minRounds: 1, maxRounds: 1, budgetMs: 0, minSampleMs: 0 };
  const measure = (shape: string, device: GPUDevice) =>
    measureCase({ device, benchCase: tiny(shape), effort, alone: false, onProgress() {} });

  test.each([
    { shape: 'kv-i8', against: ['reference', 'reference'] },
    { shape: 'prefix-2', against: ['reference', 'plain'] },
  ])(
    '$shape: checks both calls, and has what each must move',
    async ({ shape, against }) => {
      const row = await measure(shape, deviceOnCpu());
      expect(row.checks.map((check) => check.against)).toEqual(against);
      expect(row.peers.map(({ name }) => name)).toEqual(['plain']);
      expect(onPaperOf(row)!.byBytes).toBeGreaterThan(1);
    },
    SLOW,
  );

  test.each(['attn_decode', 'merge_states'])(
    'a row fails where %s is wrong',
    async (kernel) => {
      const device = deviceOnCpu((code, entryPoint) =>
        entryPoint === kernel ? code.replaceAll('exp2(', 'exp2(0.7 * ') : code,
      );
      await expect(measure('prefix-2', device)).rejects.toThrow(/^pageflash and (reference|plain) disagree/);
    },
    SLOW,
  );
});

describe('on paper', () => {
  /** How many times as fast an option should be by its bytes, and by the scores that it computes. */
  const ratios = (shape: string) => {
    const { pageflash, peers } = featureWorkload(deviceOnCpu(), tiny(shape));
    const [plain] = peers;
    return [plain!.bytes / pageflash.bytes, plain!.flops! / pageflash.flops!];
  };

  test('a step over a cache of few bits reads fewer bytes', () => {
    // 3 sequences of 48 keys of 32 elements, and their scales in f16; queries and outputs.
    const rows = 3 * 2 * 2 * 32 * 2;
    const halves = 3 * 48 * 2 * 32 * 2 + rows;
    expect(ratios('kv-i8')).toEqual([halves / (3 * 48 * 2 * (32 + 2) + rows), 1]);
    expect(ratios('kv-i4')).toEqual([halves / (3 * 48 * 2 * (16 + 2) + rows), 1]);
    expect(ratios('kv-e4m3')).toEqual([halves / (3 * 48 * 2 * 32 + rows), 1]);
  });

  test('a mask and a block mask leave out scores', () => {
    // Blocks of 2 of 32 keys: of 136 up to the diagonal, 72 are seen, 16 of them by half and a bit.
    const pairs = (32 * 33) / 2;
    expect(ratios('mask')[1]).toBeCloseTo(pairs / (56 * 4 + 16 * 3), 12);
    // A window of 4 keys, in blocks of 2 by 2: three blocks for each row but the first two.
    expect(ratios('window-blocks')[1]).toBeCloseTo(pairs / (16 * 3 + (15 + 14) * 4), 12);
  });

  test('first keys are added to those of a window', () => {
    // Of 48 keys a window of 6, and 4.
    const bytes = (nKeys: number) => 3 * nKeys * 2 * 32 * 4 + 3 * 2 * 2 * 32 * 4;
    expect(ratios('first-keys-step')).toEqual([bytes(6) / bytes(10), 6 / 10]);
  });

  test('a function cannot leave out what a window does', () => {
    const [byBytes, byScores] = ratios('window-mod');
    expect(byBytes).toBe(1);
    expect(byScores).toBeCloseTo((4 * 32 - 6) / ((32 * 33) / 2), 12);
  });

  test('a shared prefix is read once', () => {
    const bytes = (nKeys: number) => nKeys * 2 * 32 * 4 + 2 * 2 * 2 * 32 * 4;
    expect(ratios('prefix-2')).toEqual([bytes(2 * 192) / bytes(64 + 2 * 128), 1]);
  });
});
