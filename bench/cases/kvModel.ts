import {
  PagedKvCache,
  PageManager,
  rotaryTables,
  StepPlanner,
  type PagedKvCacheOptions,
  type Runtime,
} from 'pageflash';
import { createAttention } from '../../examples/mini-llama/attention.js';
import { forward, logitsOf, type Qkv } from '../../examples/mini-llama/llama.js';
import type { LlamaWeights } from '../../examples/mini-llama/weights.js';
import type { HostTensor } from '../../src/reference/attention.js';
import { rotate } from '../../src/reference/attnWithKvCache.js';

// What a language model says over a cache of few bits: its kernels run, and tokens are those that it says over one of f32.

/** A prompt, and the tokens that follow it. */
export interface Conversation {
  readonly ids: readonly number[];
  readonly generated: readonly number[];
}

export type Format = Pick<PagedKvCacheOptions, 'dtype' | 'scaleDType' | 'kvRotation' | 'kScale' | 'vScale'>;

export interface Agreement {
  /** Of the tokens, how many are the most likely ones. */
  readonly nSame: number;
  readonly nTokens: number;
  /** e to the mean of −ln p(token). */
  readonly perplexity: number;
}

const PAGE_SIZE = 16;

/** Gives the tokens of each conversation to the model, and sees what it expects next in their place. */
export async function agreementOf(
  runtime: Runtime,
  llama: LlamaWeights,
  conversations: readonly Conversation[],
  format: Format,
): Promise<Agreement> {
  let [nSame, nTokens, surprise] = [0, 0, 0];
  for (const { ids, generated } of conversations) {
    const hidden = await hiddenOf(runtime, llama, [...ids, ...generated], format);
    generated.forEach((token, i) => {
      const logits = logitsOf(llama, hidden, ids.length + i - 1);
      const largest = logits.reduce((a, b) => Math.max(a, b));
      const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
      if (logits[token] === largest) nSame++;
      nTokens++;
      surprise += largest + Math.log(sum) - logits[token]!;
    });
  }
  return { nSame, nTokens, perplexity: Math.exp(surprise / nTokens) };
}

/** The hidden states after the last layer, and through `watch` what attention is given. */
export async function hiddenOf(
  runtime: Runtime,
  llama: LlamaWeights,
  tokens: readonly number[],
  format: Format,
  watch: (layer: number, qkv: Qkv) => void = () => {},
): Promise<Float32Array<ArrayBuffer>> {
  const nPages = Math.ceil(tokens.length / PAGE_SIZE) + 1;
  const cache = await PagedKvCache.create(runtime, {
    ...llama.shape,
    ...format,
    pageSize: PAGE_SIZE,
    nPages,
  });
  const attention = createAttention({ runtime, llama, cache, maxTokens: tokens.length });
  try {
    const planner = new StepPlanner({
      pages: new PageManager(cache),
      maxSequences: 1,
      maxTokens: tokens.length,
    });
    planner.add({ tokens });
    const step = planner.plan();
    if (typeof step === 'string') throw new Error(`The tokens do not fit into a step: ${step}.`);
    const attend = await attention.begin(step);
    return await forward(llama, step.tokens, (layer, qkv) => {
      watch(layer, qkv);
      return attend(layer, qkv);
    });
  } finally {
    attention.destroy();
    cache.destroy();
  }
}

/** Queries, keys and values of a layer, rotated: what attention of the model itself is between. */
export interface OwnHeads {
  readonly q: HostTensor;
  readonly k: HostTensor;
  readonly v: HostTensor;
}

/** What the layers of a model compute for a conversation. */
export async function ownHeads(
  runtime: Runtime,
  llama: LlamaWeights,
  { ids, generated }: Conversation,
): Promise<OwnHeads[]> {
  const { nHeads, nKvHeads, headDim } = llama.shape;
  const tokens = [...ids, ...generated];
  const { rotaryCos, rotarySin, rotaryInterleaved } = rotaryTables({
    config: llama.config,
    maxPositions: tokens.length,
  });
  const table = (data: Float32Array): HostTensor => ({ data, shape: [tokens.length, headDim / 2] });
  const angles = { cos: table(rotaryCos), sin: table(rotarySin), interleaved: rotaryInterleaved };
  const headsOf = (numbers: Float32Array, n: number, isRotated: boolean): HostTensor => {
    const data = numbers.slice();
    for (let at = 0; at < data.length; at += headDim)
      if (isRotated) rotate(data.subarray(at, at + headDim), Math.floor(at / headDim / n), angles);
    return { data, shape: [1, tokens.length, n, headDim] };
  };
  const layers: OwnHeads[] = [];
  await hiddenOf(runtime, llama, tokens, { dtype: 'f32' }, (layer, { q, k, v }) => {
    layers[layer] = {
      q: headsOf(q, nHeads, true),
      k: headsOf(k, nKvHeads, true),
      v: headsOf(v, nKvHeads, false),
    };
  });
  return layers;
}
