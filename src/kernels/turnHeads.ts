import { grid2d, type Dispatch, type Scratch } from '../core/dispatch.js';
import type { FloatDType } from '../core/dtype.js';
import type { AttentionProblem, TokenRows } from '../problem/attentionProblem.js';
import { constantOf, withBindings } from '../wgsl/reflection.js';
import { newRowsParams, octetsOf, positionsOf, type NewTokens } from './appendKv.js';
import { dtypeCode, hasMultiplesOf, isWide, outConditions } from './shared/elements.js';
import turnHeadsKernel from './turn_heads.wgsl';

export interface TurnHeadsArgs {
  readonly problem: AttentionProblem;
  readonly tokens: NewTokens;
  /** Queries, from the caller's q to memory of the runtime; or outputs, from there to the caller's out. */
  readonly heads: 'q' | 'out';
  readonly scratch: Scratch;
  readonly maxWorkgroupsPerDimension: number;
}

/** What decides which variant of turn_heads is needed. */
export interface TurnHeadsFeatures {
  readonly heads: 'q' | 'out';
  /** A power of two. */
  readonly headDim: number;
  readonly rotary: boolean;
  /** Whether tokens have positions of their own to be rotated by, and three each. Default false. */
  readonly positions?: boolean;
  readonly sections?: boolean;
  /** Whether rows can be read 16 bytes at a time. */
  readonly wide: boolean;
  /** Of what is written. */
  readonly outDType: FloatDType;
  /** Whether it can be written four elements at a time. */
  readonly outWide: boolean;
}

/** Tokens are appended by others. */
const kernel = /* @__PURE__ */ withBindings(
  turnHeadsKernel,
  (name) => name !== 'new_k' && name !== 'new_v' && name !== 'lse',
);

/** Multiplies queries, rotated if the problem says so, or outputs by the Hadamard matrix. */
export function turnHeadsDispatch({ problem, tokens, heads, scratch, ...rest }: TurnHeadsArgs): Dispatch {
  const { nHeads, append, headDim, headDimV } = problem;
  const turned = problem.turned!;
  const isQueries = heads === 'q';
  // What attention reads or has left, and what the caller has.
  const inside = problem[heads];
  const callers = (isQueries ? turned.q : turned.out)!;
  const [from, to]: readonly TokenRows[] = isQueries ? [callers, inside] : [inside, callers];
  const rotary = isQueries ? (append?.rotary ?? null) : null;
  const size = isQueries ? headDim : headDimV;
  const features: TurnHeadsFeatures = {
    heads,
    headDim: size,
    rotary: rotary !== null,
    ...positionsOf(problem, rotary),
    wide: isWide(from!, size),
    outDType: to!.tensor.dtype as FloatDType,
    outWide: hasMultiplesOf(4, to!, size),
  };
  const spec = turnHeadsSpec(features);
  const writes = { newK: null, newV: null, rotatedQ: isQueries ? scratch : null };
  const nRows = tokens.nItems * tokens.itemTokens * nHeads;
  return {
    kernel,
    spec,
    params: {
      ...newRowsParams(problem, tokens, writes),
      token_octets: nHeads * octetsOf(size),
      head_dim: size,
      q_type: dtypeCode(from!.tensor),
      q_token: from!.tokenStride,
      q_head: from!.headStride,
      ...(!rotary && { n_positions: ANY_POSITION }),
    },
    bindings: {
      q: isQueries ? callers.tensor : scratch,
      batch_info: tokens.batchInfo,
      cosines: rotary?.cos ?? null,
      sines: rotary?.sin ?? null,
      out: isQueries ? scratch : callers.tensor,
    },
    grid: grid2d(Math.ceil(nRows / turnedHeadsPerWorkgroup(spec)), rest.maxWorkgroupsPerDimension),
  };
}

/** Beyond the last position of any token. */
const ANY_POSITION = 2 ** 32 - 1;

export function turnHeadsSpec(features: TurnHeadsFeatures) {
  const { heads, headDim, rotary, positions = false, sections = false, wide, outDType, outWide } = features;
  return {
    QUERIES: heads === 'q',
    OUTPUTS: heads === 'out',
    APPENDS: false,
    KEYS: false,
    VALUES: false,
    ROTARY: rotary,
    POSITIONS: positions,
    SECTIONS: sections,
    WIDE: wide,
    ...outConditions(outDType, outWide),
    ...turningLanes(headDim),
  };
}

/** Heads that a workgroup takes at a time. */
export function turnedHeadsPerWorkgroup({ LANES }: { readonly LANES: number }): number {
  return constantOf(turnHeadsKernel, 'WG_SIZE') / LANES;
}

/** Octets of a head that an invocation sums up, so that registers suffice anywhere; more if else too many would share it. */
const OWN_OCTETS = 8;

/** Invocations that share a head, at most: each of them reads and rotates all of it. */
const MAX_TURNING_LANES = 4;

/** How neighbouring invocations share the octets of a head that is turned. */
export function turningLanes(headDim: number): { readonly LANES: number; readonly OCTETS: number } {
  const octets = octetsOf(headDim);
  const LANES = Math.ceil(Math.min(octets / OWN_OCTETS, MAX_TURNING_LANES));
  return { LANES, OCTETS: octets / LANES };
}

export { turnHeadsKernel };
