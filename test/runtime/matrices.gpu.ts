import {
  attnVariants,
  createRuntime,
  prepareModel,
  type DeviceTraits,
  type Runtime,
} from '../../src/index.js';
import type { KnownAnswer, SelfTest } from '../../src/core/knownAnswer.js';
import { knownAttention, matrixTest } from '../../src/plan/knownAttention.js';
import { planAttention } from '../../src/plan/planAttention.js';
import { MATRIX_EXTENSION, MATRIX_FEATURE, type AdapterInfo } from '../../src/runtime/adapterInfo.js';
import { firstWrongAnswer } from '../../src/runtime/knownAnswers.js';
import type { Variant } from '../../src/runtime/pipelines.js';
import { checkVarlen, type VarlenCase } from '../attention/varlenCase.js';
import { assert, assertEqual, type GpuCase, type GpuTest } from '../platforms/gpuCase.js';

const MATRICES = { componentType: 'f32', resultComponentType: 'f32', M: 8, N: 8, K: 8 } as const;

/**
 * A test of kernels that every device has, in place of those that use matrices: the tiles of the other class of devices.
 * They are as right as any.
 */
const standIns: SelfTest = (traits) =>
  knownAttention(traits, (problem, lengths, { matrices, ...others }) =>
    planAttention(problem, lengths, {
      ...others,
      tier: 'T1',
      matrices: null,
      deviceClass: (others.deviceClass === 'gpu') === (matrices === null) ? 'gpu' : 'software',
    }),
  );

function withMatrices(traits: DeviceTraits): DeviceTraits {
  return { ...traits, tier: 'T2', matrices: MATRICES };
}

/** What a driver may make of a kernel. */
interface Fault {
  readonly why: string;
  readonly from: RegExp;
  readonly to: string;
  /** What the test says of it. */
  readonly says: string;
}

const FAULTS: readonly Fault[] = [
  {
    why: 'a block of keys is not transposed',
    from: /transposed\((four_of\([^;]+)\);/,
    to: '$1;',
    says: 'was',
  },
  {
    why: 'keys of the first tile are used again',
    from: /(?<=\n\s*)stage_keys\(([^;]+)\);/,
    to: 'if (tile == tiles.first) { stage_keys($1); }',
    says: 'was',
  },
  {
    why: 'values of the first tile are used again',
    from: /(?<=\n\s*)stage_values\(([^;]+)\);/,
    to: 'if (tile == tiles.first) { stage_values($1); }',
    says: 'was',
  },
  {
    why: 'some rows are not written',
    from: /if \(dim >= head_dim\)/,
    to: 'if (dim >= head_dim || row % 5u == 0u)',
    says: 'was NaN',
  },
  {
    why: 'results are garbage',
    from: /(fn write_quad\([^{]+\{)/,
    to: '$1\n  if (row % 3u == 0u) { out[(row + dim) / 4u] = out[0]; return; }',
    says: 'was',
  },
  { why: 'a sum is not rescaled', from: /acc_0_0 \*= [^;]+;/, to: ';', says: 'was' },
  { why: 'the log of the sum is off', from: /log2\(total\)/, to: 'log2(total + 1.0)', says: 'lse[' },
  {
    why: 'the compiler refuses it',
    from: /\nfn write_lse\(/,
    to: '\nlet nonsense;\nfn write_lse(',
    says: 'The compiler refused attn_prefill{',
  },
];

/**
 * Makes a device compile some kernels with a fault from now on, as long as they have it in their text. Returns how many
 * those were.
 */
function breakKernels(
  device: GPUDevice,
  { from, to }: Pick<Fault, 'from' | 'to'>,
  isBroken: (code: string) => boolean,
): () => number {
  const { createShaderModule } = device;
  let nBroken = 0;
  device.createShaderModule = (descriptor) => {
    const code = isBroken(descriptor.code) ? descriptor.code.replace(from, to) : descriptor.code;
    if (code !== descriptor.code) nBroken++;
    return createShaderModule.call(device, { ...descriptor, code });
  };
  return () => nBroken;
}

function isPrefill(code: string): boolean {
  return code.includes('fn attn_prefill(');
}

/** A part of the test, with kernels that few others need. */
const part: SelfTest = (traits) => partOf(standIns(traits));

function partOf(answers: Iterable<KnownAnswer>): KnownAnswer[] {
  return Array.from(answers).filter(({ name }) => name === 'scores that grow');
}

/** What a test says. */
function saidBy(test: SelfTest, runtime: Runtime): Promise<string | undefined> {
  const { signal } = new AbortController();
  return firstWrongAnswer(runtime, 'a test', test(withMatrices(runtime.traits)), signal);
}

/** A prompt, for which attention on matrices would be chosen. */
const PROMPT: VarlenCase = {
  why: 'a prompt',
  lengths: [
    [70, 70],
    [40, 90],
  ],
  heads: [4, 2],
  headDim: 64,
  dtype: 'f16',
  causal: true,
  pageSize: 16,
};

const MODEL = {
  nHeads: 4,
  nKvHeads: 2,
  headDim: 64,
  dtype: 'f16',
  paged: true,
  appends: false,
  maxTokens: 128,
  maxContext: 256,
} as const;

/** A runtime on a device that only claims to have matrices; undefined where it lacks what these need. */
function runtimeWithClaim(device: GPUDevice): Runtime | undefined {
  if (!device.features.has('subgroups')) return undefined;
  const features = new Set([...device.features, MATRIX_FEATURE]);
  Object.defineProperty(device, 'features', { value: features });
  const { vendor, architecture, description, device: name } = device.adapterInfo;
  const { subgroupMinSize, subgroupMaxSize } = device.adapterInfo;
  const adapterInfo: AdapterInfo = {
    vendor,
    architecture,
    description,
    device: name,
    subgroupMinSize: subgroupMinSize ?? 4,
    subgroupMaxSize: subgroupMaxSize ?? 128,
    subgroupMatrixConfigs: [MATRICES],
  };
  return createRuntime(device, { adapterInfo, tier: 'T2' });
}

/** A kernel of a call, and a stand-in for one with matrices, which the test is to let pass. */
function variantsOf(runtime: Runtime): Variant[] {
  const options = { headDim: 64, dtype: 'f16', paged: true } as const;
  const of = (deviceClass: DeviceTraits['deviceClass']): Variant =>
    attnVariants(createRuntime(runtime.device, { tier: 'T1', deviceClass }), options)[0]!;
  const isGpu = runtime.traits.deviceClass === 'gpu';
  const [own, other] = [of(isGpu ? 'gpu' : 'software'), of(isGpu ? 'software' : 'gpu')];
  return [
    { ...own, when: { matrices: false, test: part } },
    { ...other, when: { matrices: true, test: part } },
  ];
}

/** What a driver may make of attn_matrix. */
const MATRIX_FAULTS: readonly Fault[] = [
  {
    why: 'reads blocks by rows that lie by columns',
    from: /\bcol_major\b/g,
    to: 'row_major',
    says: 'was',
  },
  {
    why: 'has the keys of the first tile in the place of others',
    from: /\b(load_key|stage_keys)\(job, seen, (?:tile \+ 1u|next)/g,
    to: '$1(job, seen, range.first',
    says: 'was',
  },
  {
    why: 'has the values of the first tile in the place of others',
    from: /(?<=\bv_largest = )stage_values\(job, seen, tile/,
    to: 'stage_values(job, seen, range.first',
    says: 'was',
  },
  {
    why: 'leaves out a store of a block',
    from: /subgroupMatrixStore<[^;]+;/g,
    to: ';',
    says: 'was',
  },
  {
    why: 'does not multiply the output where a maximum has grown',
    from: /scores\[[^\]]+\] \*= rescale;/,
    to: ';',
    says: 'was',
  },
  {
    why: 'does not wait at a barrier',
    from: /(subgroupMatrixStore[^;]*;\s*(?:\}\s*)*)workgroupBarrier\(\);/,
    to: '$1',
    says: 'was',
  },
  {
    why: 'does not zero sums again in a loop',
    from: /\bvar (s(?:_\d+)*): ([^=;]*Product[^=;]*) = [^;]+;/g,
    to: 'var $1: $2;',
    says: 'was',
  },
  {
    why: 'is a little off in sums',
    from: /dot\(sum, vec4f\(1\)\)/,
    to: 'dot(sum, vec4f(1.01))',
    says: 'was',
  },
  {
    why: 'refuses kernels',
    from: /$/,
    to: '\nlet nonsense;',
    says: 'The compiler refused attn_matrix{',
  },
];

/** Others take seconds to compile a kernel, so they have few of them. */
function compilesFast({ platform }: GpuTest): boolean {
  return platform === 'node' || platform === 'mesa-sid';
}

export const cases: GpuCase[] = [
  {
    name: 'kernels that are right pass the self-test',
    async run(t) {
      const runtime = createRuntime(await t.device('full'), { tier: 'T1' });
      const test = compilesFast(t) ? standIns : part;
      assertEqual(await saidBy(test, runtime), undefined, 'what was wrong');
      runtime.destroy();
    },
  },
  {
    name: 'the self-test fails where kernels are not what was written',
    async run(t) {
      const faults = compilesFast(t) ? FAULTS : FAULTS.slice(0, 2);
      for (const fault of faults) {
        const device = await t.ownDevice();
        const nBroken = breakKernels(device, fault, isPrefill);
        const runtime = createRuntime(device, { tier: 'T1' });
        const said = await saidBy(part, runtime).catch(({ message }: Error) => message);
        assert(nBroken() > 0, `no kernel was broken where ${fault.why}`);
        assert(said?.includes(fault.says), `the test said where ${fault.why}: ${said}`);
        runtime.destroy();
        device.destroy();
      }
    },
  },
  {
    name: 'a runtime uses matrices once kernels have passed the self-test',
    async run(t) {
      const device = await t.ownDevice();
      const runtime = runtimeWithClaim(device) ?? createRuntime(device, { tier: 'T2' });
      const expected = runtime.candidate ? 'T2' : 'T1';
      if (runtime.candidate) await runtime.prepare(variantsOf(runtime));
      assertEqual(runtime.traits.tier, expected, runtime.traits.matricesNote);
      device.destroy();
    },
  },
  {
    name: 'a runtime falls back where they have not, says why, and answers as before',
    async run(t) {
      const device = await t.ownDevice();
      const runtime = runtimeWithClaim(device);
      if (runtime) {
        const nBroken = breakKernels(
          device,
          FAULTS[0]!,
          (code) => isPrefill(code) && runtime.candidate !== null,
        );
        await runtime.prepare(variantsOf(runtime));
        assert(nBroken() > 0, 'no kernel was broken');
        assertEqual(runtime.traits.tier, 'T1', runtime.traits.matricesNote);
        const { matricesNote } = runtime.traits;
        assert(/ are not used: their self-test failed \(.* was .*, not /.test(matricesNote), matricesNote);
      }
      await checkVarlen(runtime ?? createRuntime(device, { tier: 'T2' }), PROMPT);
      device.destroy();
    },
  },
  {
    name: 'prepareModel finds out whether a device has matrices that are right',
    why: 'only those of a driver that was tested may be used',
    async run(t) {
      const runtime = createRuntime(await t.device('full'), { tier: 'T2' });
      const { candidate } = runtime;
      const expected = candidate && usesMatrices(candidate) ? 'T2' : 'T1';
      if (candidate) {
        await prepareModel(runtime, MODEL);
        await checkVarlen(runtime, PROMPT);
      }
      assertEqual(runtime.traits.tier, expected, runtime.traits.matricesNote);
      runtime.destroy();
    },
  },
  ...MATRIX_FAULTS.map((fault): GpuCase => ({
    name: `a driver that ${fault.why} is found out`,
    async run(t) {
      const device = await t.ownDevice();
      const nBroken = breakKernels(device, fault, (code) => code.includes(MATRIX_EXTENSION));
      const runtime = createRuntime(device, { tier: 'T2' });
      const { candidate } = runtime;
      if (candidate && usesMatrices(candidate)) {
        await runtime.testMatrices('a test', (traits) => partOf(matrixTest(traits)), undefined);
        assert(nBroken() > 0, 'no kernel was broken');
        const { matricesNote } = runtime.traits;
        assert(matricesNote.includes('self-test failed'), matricesNote);
        assert(matricesNote.includes(fault.says), matricesNote);
        await checkVarlen(runtime, PROMPT);
      }
      assertEqual(runtime.traits.tier, 'T1', runtime.traits.matricesNote);
      device.destroy();
    },
  })),
];

/** Whether any kernel uses the matrices of a device. */
function usesMatrices(candidate: DeviceTraits): boolean {
  return [...matrixTest(candidate)].length > 0;
}
