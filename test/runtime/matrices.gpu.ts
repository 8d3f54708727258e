import { createRuntime, type DeviceTraits, type Runtime } from '../../src/index.js';
import type { SelfTest } from '../../src/core/knownAnswer.js';
import { knownAttention } from '../../src/plan/knownAttention.js';
import { planAttention } from '../../src/plan/planAttention.js';
import { firstWrongAnswer } from '../../src/runtime/knownAnswers.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';

const MATRICES = { componentType: 'f32', resultComponentType: 'f32', M: 8, N: 8, K: 8 } as const;

/**
 * A test of kernels that every device has, in place of those that use matrices: the tiles of the other class of devices.
 * They are as right as any.
 */
const standIns: SelfTest = (traits) =>
  knownAttention(traits, (problem, lengths, { matrices, ...others }) =>
    planAttention(problem, lengths, {
      ...others,
      matrices,
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

/** Makes a device compile prefill kernels with a fault from now on. Returns how many it has changed, and an end of it. */
function breakPrefill(device: GPUDevice, { from, to }: Fault) {
  const { createShaderModule } = device;
  let changed = 0;
  device.createShaderModule = (descriptor) => {
    const code = descriptor.code.includes('fn attn_prefill(')
      ? descriptor.code.replace(from, to)
      : descriptor.code;
    if (code !== descriptor.code) changed++;
    return createShaderModule.call(device, { ...descriptor, code });
  };
  return { nChanged: () => changed, mend: () => void Reflect.deleteProperty(device, 'createShaderModule') };
}

/** What the test says, or a part of it. */
function testOf(runtime: Runtime, only?: string): Promise<string | undefined> {
  const answers = [...standIns(withMatrices(runtime.traits))];
  const some = answers.filter(({ name }) => only === undefined || name === only);
  return firstWrongAnswer(runtime, 'a test', some, new AbortController().signal);
}

export const cases: GpuCase[] = [
  {
    name: 'kernels that are right pass the self-test',
    async run(t) {
      for (const kind of ['full', 'plain'] as const) {
        const runtime = createRuntime(await t.device(kind), { tier: 'T1' });
        assertEqual(await testOf(runtime), undefined, 'what was wrong');
        runtime.destroy();
      }
    },
  },
  ...FAULTS.map((fault): GpuCase => ({
    name: `the self-test fails where ${fault.why}`,
    async run(t) {
      const device = await t.ownDevice();
      const broken = breakPrefill(device, fault);
      const runtime = createRuntime(device, { tier: 'T1' });
      const wrong = await testOf(runtime, 'scores that grow').catch(({ message }: Error) => message);
      assert(broken.nChanged() > 0, 'no kernel was broken');
      assert(wrong?.includes(fault.says), `the test said: ${wrong}`);
      runtime.destroy();
      device.destroy();
    },
  })),
];
