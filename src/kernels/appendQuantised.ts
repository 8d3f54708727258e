import { grid2d, type Dispatch } from '../core/dispatch.js';
import { bytesPerElement, type QuantisedDType } from '../core/dtype.js';
import type { ScaleDType } from '../core/kvFormats.js';
import { isTensor } from '../core/tensor.js';
import type { AttentionProblem, KvScales, SmallFloats, TokenRows } from '../problem/attentionProblem.js';
import type { Kernel } from '../wgsl/kernel.js';
import { constantOf, withBindings } from '../wgsl/reflection.js';
import { newRowsParams, octetsOf, positionsOf, type NewTokens } from './appendKv.js';
import appendQuantisedKernel from './append_quantised.wgsl';
import { turningLanes } from './turnHeads.js';
import { firstElementOf, hasMultiplesOf, isWide } from './shared/elements.js';

export interface AppendQuantisedArgs {
  readonly problem: AttentionProblem;
  readonly tokens: NewTokens;
  /** New keys, or new values. */
  readonly side: 'k' | 'v';
  readonly maxWorkgroupsPerDimension: number;
}

/** What decides which variant of append_quantised is needed. */
export interface AppendQuantisedFeatures {
  readonly side: 'k' | 'v';
  readonly dtype: QuantisedDType;
  /** Of i8 and i4. */
  readonly scaleDType: ScaleDType;
  readonly headDim: number;
  readonly rotary: boolean;
  /** Whether tokens have positions of their own to be rotated by, and three each. Default false. */
  readonly positions?: boolean;
  readonly sections?: boolean;
  /** Whether heads are turned by the Hadamard matrix. Default false. */
  readonly turned?: boolean;
  readonly paged: boolean;
  /** Whether rows of new tokens can be read 16 bytes at a time. */
  readonly wide: boolean;
  /** Whether heads of the cache begin and end with whole words. */
  readonly wholeWords: boolean;
}

/** Writes new keys, rotated if the problem says so, or new values to their slots in a quantised cache. */
export function appendQuantisedDispatch(args: AppendQuantisedArgs): Dispatch {
  const { problem, tokens, side, maxWorkgroupsPerDimension } = args;
  const { pages, nKvHeads, append } = problem;
  const isKeys = side === 'k';
  const fresh = (isKeys ? append?.newK : append?.newV)!;
  const cache = problem[side];
  const scales = problem.scales!;
  const rotary = isKeys ? (append?.rotary ?? null) : null;
  const features: AppendQuantisedFeatures = {
    side,
    dtype: cache.tensor.dtype as QuantisedDType,
    scaleDType: scales.per === 'token' ? (scales[side].tensor.dtype as ScaleDType) : 'f32',
    headDim: isKeys ? problem.headDim : problem.headDimV,
    rotary: rotary !== null,
    ...positionsOf(problem, rotary),
    turned: problem.turned !== undefined,
    paged: pages !== null,
    ...quantisedAccesses(problem, fresh, side),
  };
  const spec = appendQuantisedSpec(features);
  const writes = { newK: isKeys ? fresh : null, newV: isKeys ? null : fresh, rotatedQ: null };
  const nHeads = tokens.nItems * tokens.itemTokens * nKvHeads;
  return {
    kernel: kernelOf(side, features.dtype),
    spec,
    params: newRowsParams(problem, tokens, writes, scaleParams(scales, side, pages !== null)),
    bindings: {
      batch_info: tokens.batchInfo,
      [isKeys ? 'new_k' : 'new_v']: fresh.tensor,
      cosines: rotary?.cos ?? null,
      sines: rotary?.sin ?? null,
      block_table: pages?.table ?? null,
      codes: cache.tensor,
      [scales.per === 'token' ? 'scales' : 'head_scales']:
        scales.per === 'token' ? scales[side].tensor : scales[side],
    },
    grid: grid2d(Math.ceil(nHeads / quantisedHeadsPerWorkgroup(spec)), maxWorkgroupsPerDimension),
  };
}

function scaleParams(scales: KvScales, side: 'k' | 'v', paged: boolean): Record<string, number> {
  if (scales.per === 'head')
    return {
      scale_base: firstElementOf(scales[side]),
      scale_page: 0,
      scale_token: 0,
      scale_head: countOf(scales[side]) === 1 ? 0 : 1,
    };
  const { tensor, pageStride, sequenceStride, tokenStride, headStride } = scales[side];
  return {
    scale_base: firstElementOf(tensor),
    scale_page: paged ? pageStride : sequenceStride,
    scale_token: tokenStride,
    scale_head: headStride,
  };
}

function countOf(numbers: SmallFloats): number {
  return isTensor(numbers) ? numbers.shape[0]! : numbers.length;
}

/** How a dispatch may read new tokens, and write the cache. */
export function quantisedAccesses(
  problem: Pick<AttentionProblem, 'k' | 'v' | 'headDim' | 'headDimV'>,
  fresh: TokenRows,
  side: 'k' | 'v',
): Pick<AppendQuantisedFeatures, 'wide' | 'wholeWords'> {
  const cache = problem[side];
  const headDim = side === 'k' ? problem.headDim : problem.headDimV;
  const perWord = 4 / bytesPerElement(cache.tensor.dtype);
  return { wide: isWide(fresh, headDim), wholeWords: hasMultiplesOf(perWord, cache, headDim) };
}

/** At most half of a workgroup has a head, so that its largest element is found in few steps. */
const MAX_LANES = 32;

export function appendQuantisedSpec(features: AppendQuantisedFeatures) {
  const { side, dtype, scaleDType, headDim, rotary, paged, wide, wholeWords } = features;
  const { positions = false, sections = false, turned = false } = features;
  const octets = octetsOf(headDim);
  const lanes = Math.min(MAX_LANES, 2 ** Math.ceil(Math.log2(octets)));
  return {
    KEYS: side === 'k',
    VALUES: side === 'v',
    APPENDS: true,
    QUERIES: false,
    I8: dtype === 'i8',
    I4: dtype === 'i4',
    E4M3: dtype === 'e4m3',
    SCALE_F16: dtype !== 'e4m3' && scaleDType === 'f16',
    ROTARY: rotary && side === 'k',
    POSITIONS: positions && side === 'k',
    SECTIONS: sections && side === 'k',
    PAGED: paged,
    WIDE: wide,
    WORDS: wholeWords,
    LANES: lanes,
    OCTETS: Math.ceil(octets / lanes),
    ...(turned && { TURNED: true, ...turningLanes(headDim) }),
  };
}

/** Heads that a workgroup takes at a time. */
export function quantisedHeadsPerWorkgroup({ LANES }: { readonly LANES: number }): number {
  return constantOf(appendQuantisedKernel, 'WG_SIZE') / LANES;
}

/** Bytes of workgroup memory: the largest element of each invocation, with i4 of each octet. */
export function quantisedWorkgroupBytes({
  I4,
  E4M3,
  OCTETS,
}: ReturnType<typeof appendQuantisedSpec>): number {
  if (E4M3) return 0;
  return constantOf(appendQuantisedKernel, 'WG_SIZE') * (I4 ? OCTETS : 1) * 4;
}

/** Kernels of one name, whose layouts have no more buffers than a device must be able to bind. */
const kernels = new Map<string, Kernel>();

function kernelOf(side: 'k' | 'v', dtype: QuantisedDType): Kernel {
  const unbound = [side === 'k' ? 'new_v' : 'new_k', dtype === 'e4m3' ? 'scales' : 'head_scales', 'q'];
  const key = unbound.join();
  let kernel = kernels.get(key);
  if (!kernel)
    kernels.set(key, (kernel = withBindings(appendQuantisedKernel, (name) => !unbound.includes(name))));
  return kernel;
}
