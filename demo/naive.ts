import { naive, scoresBytes } from '../bench/peers/naive.js';
import { formatBytes } from '../tools/format.js';
import { createRuntime, type DeviceTraits } from '../src/index.js';
import type { Contender, ContenderArgs } from './contender.js';
import { tokensOf, type Rows } from './inputs.js';
import type { Sequence, Settings } from './settings.js';

/** Multiply-adds that one dispatch may take on before an operating system might take the GPU away. */
const DISPATCH_MACS: Readonly<Record<DeviceTraits['deviceClass'], number>> = { software: 4e8, gpu: 5e10 };

/** Why naive attention cannot be timed with these settings, in words; undefined if it can. */
export function whyNotNaive(settings: Settings, traits: DeviceTraits): string | undefined {
  const { headDim, attentionChunk, sequences } = settings;
  if (attentionChunk > 0)
    return 'The naive kernels know no attention chunks, so there is nothing to compare with.';
  if (headDim % 4 !== 0) return 'The naive kernels take head sizes that are multiples of 4 only.';
  const mostMacs = Math.max(...sequences.map((sequence) => macsOf(settings, sequence)));
  const mostBytes = naiveScoresBytes(settings);
  if (mostBytes > traits.maxBindingBytes) {
    return `Naive attention cannot run: the scores of one sequence take ${formatBytes(mostBytes)}, and this device binds at most ${formatBytes(traits.maxBindingBytes)}.`;
  }
  if (mostMacs > DISPATCH_MACS[traits.deviceClass]) {
    return 'Naive attention was not run: one of its dispatches would hold the GPU for so long that the system might take it away.';
  }
  const { maxWorkgroupsPerDimension: most } = traits;
  if (sequences.some(({ nQueries, nKeys }) => nQueries > most || nKeys > 8 * most)) {
    return 'Naive attention cannot run: it needs more workgroups than this device allows.';
  }
  return undefined;
}

/** What naive attention keeps in memory for the longest sequence; the others take the same memory. */
export function naiveScoresBytes(settings: Settings): number {
  return Math.max(...settings.sequences.map((sequence) => scoresOf(settings, sequence)));
}

/** What the naive kernels leave out of these settings, in words. */
export function leftOutOfNaive({ alibi, sinks }: Settings): string | undefined {
  const left = [alibi && 'ALiBi', sinks && 'sinks'].filter(Boolean);
  return left.length > 0
    ? `The naive kernels know no ${left.join(' and no ')}: they were timed without.`
    : undefined;
}

/** Attention with the scores in memory, one sequence after another, over keys and values that lie end to end. */
export function createNaive({ device, tensors, settings, inputs }: ContenderArgs): Contender {
  const { causal, windowSize, softcap } = settings;
  const { q, k, v, cuSeqlensQ, cuSeqlensK } = inputs;
  const runtime = createRuntime(device);
  const cut = (rows: Rows, first: number, end: number) =>
    tensors.create(rows.dtype, [end - first, rows.nHeads, rows.headDim], tokensOf(rows, first, end));

  const calls = settings.sequences
    .map((sequence, b) => {
      const qTensor = cut(q, cuSeqlensQ[b]!, cuSeqlensQ[b + 1]!);
      return {
        sequence,
        q: qTensor,
        k: cut(k, cuSeqlensK[b]!, cuSeqlensK[b + 1]!),
        v: cut(v, cuSeqlensK[b]!, cuSeqlensK[b + 1]!),
        out: tensors.create(q.dtype, qTensor.shape),
        batch: 1,
        windowSize: [windowSize[0], causal ? 0 : windowSize[1]] as const,
        softcap,
      };
    })
    // The longest first, or the memory for the scores would have to grow.
    .toSorted((a, b) => scoresOf(settings, b.sequence) - scoresOf(settings, a.sequence));
  const dispatches = calls.filter(({ sequence }) => scoresOf(settings, sequence) > 0).flatMap(naive);
  return { runtime, tensors, call: () => runtime.submit(dispatches) };
}

function scoresOf({ nHeads }: Settings, { nQueries, nKeys }: Sequence): number {
  return scoresBytes({ batch: 1, nHeads, qLen: nQueries, kLen: nKeys });
}

function macsOf({ nHeads, headDim }: Settings, { nQueries, nKeys }: Sequence): number {
  return nHeads * headDim * nQueries * nKeys;
}
