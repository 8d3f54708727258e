import { elementCount, type Tensor } from '../../src/core/tensor.js';
import { attn, attnVarlen, planAttnVarlen, type AttnVarlenArgs } from '../../src/index.js';
import { attnReference } from '../../src/reference/attention.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { withRuntime } from '../platforms/withRuntime.js';
import { checkOut } from '../reference/tolerance.js';
import { attentionCases, GPU, PROMPTS_AND_TOKENS, RAGGED, type On } from './attentionCases.js';
import { checkKvCache, MIXED, type KvCacheCase } from './kvCacheCase.js';
import { checkVarlen, draw, place, type VarlenCase } from './varlenCase.js';
import { checkKvCacheWeights, checkVarlenWeights } from './weightsCase.js';

// Masks of bits, biases and first keys.

const BASE = { heads: [6, 2], headDim: 32, dtype: 'f32' } as const;

// prettier-ignore
const varlen: readonly (VarlenCase & On)[] = [
  { why: 'bits', lengths: RAGGED, ...BASE, bits: 'nothing' },
  { why: 'bits that heads share, causal, pages', lengths: PROMPTS_AND_TOKENS, ...BASE, bits: 'heads', causal: true, pageSize: 5, softcap: 15 },
  { why: 'bits on the tiles of GPUs', ...GPU, lengths: PROMPTS_AND_TOKENS, ...BASE, dtype: 'f16', bits: 'nothing', causal: true, alibi: 'per head', numSplits: 3 },
  { why: 'bits of attn', lengths: [[70, 90], [70, 90]], ...BASE, dense: true, bits: 'heads' },
  { why: 'a bias', lengths: RAGGED, ...BASE, bias: 'f32' },
  { why: 'a bias of halves that heads share, causal, pages', lengths: PROMPTS_AND_TOKENS, ...BASE, bias: 'f16', biasSharing: 'heads', causal: true, pageSize: 16, onGpu: true },
  { why: 'a bias at any element, sinks', lengths: PROMPTS_AND_TOKENS, ...BASE, bias: 'bf16', biasAnywhere: true, sinks: true, softcap: 15 },
  { why: 'a bias of f16 at any element, on the tiles of GPUs', ...GPU, lengths: PROMPTS_AND_TOKENS, ...BASE, dtype: 'f16', bias: 'f16', biasAnywhere: true, causal: true },
  { why: 'a bias on the tiles of GPUs, split', ...GPU, lengths: PROMPTS_AND_TOKENS, ...BASE, dtype: 'bf16', bias: 'bf16', numSplits: 3, alibi: 'per sequence', windowSize: [60, 20] },
  { why: 'a bias of attn at any element', lengths: [[70, 91], [70, 91]], ...BASE, dense: true, bias: 'f32', biasAnywhere: true },
  { why: 'both, with every other mask', lengths: RAGGED, ...BASE, bits: 'nothing', bias: 'f16', biasSharing: 'heads', causal: true, windowSize: [70, -1], attentionChunk: 90, sinks: 'some heads', alibi: 'per head', partlyUsed: true },
  { why: 'first keys before a window', lengths: PROMPTS_AND_TOKENS, ...BASE, causal: true, windowSize: [20, -1], firstKeys: 4, sinks: true },
  { why: 'many first keys before a window, split, pages', ...GPU, lengths: [...PROMPTS_AND_TOKENS, [1, 3000], [40, 2000]], ...BASE, dtype: 'f16', causal: true, windowSize: [100, -1], firstKeys: 333, pageSize: 16, numSplits: 3 },
  { why: 'first keys before chunks, right bound', lengths: PROMPTS_AND_TOKENS, ...BASE, windowSize: [-1, 5], attentionChunk: 48, firstKeys: 9, softcap: 15, alibi: 'per head' },
  { why: 'first keys, right bound alone, bits and a bias', lengths: PROMPTS_AND_TOKENS, ...BASE, windowSize: [30, 5], firstKeys: 70, bits: 'nothing', bias: 'f32' },
  { why: 'plain: bits, end to end', device: 'plain', lengths: PROMPTS_AND_TOKENS, ...BASE, bits: 'heads', causal: true },
  { why: 'plain: bits and a bias', device: 'plain', lengths: PROMPTS_AND_TOKENS, ...BASE, bits: 'heads', bias: 'f16', sinks: true, causal: true },
  { why: 'plain: bits and a bias, pages, no lse', device: 'plain', lengths: PROMPTS_AND_TOKENS, ...BASE, bits: 'nothing', bias: 'f32', pageSize: 16, returnLse: false },
  { why: 'plain: a bias, end to end', device: 'plain', lengths: PROMPTS_AND_TOKENS, ...BASE, bias: 'bf16', biasAnywhere: true, causal: true },
];

// prettier-ignore
const kvCache: readonly (KvCacheCase & On)[] = [
  { why: 'bits over a cache, left padding', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 32, dtype: 'f32', causal: true, bits: 'nothing', leftpad: true, pageSize: 3 },
  { why: 'a bias over a cache, left padding, lengths on the GPU', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 32, dtype: 'f32', causal: true, bias: 'f32', biasAnywhere: true, leftpad: true, onGpu: true },
  { why: 'both, of all sequences, in a dense batch', lengths: [[203, 2, 2], [64, 2, 2], [900, 2, 2]], heads: [4, 1], headDim: 32, dtype: 'f16', causal: true, bits: 'all', bias: 'bf16', biasSharing: 'all', pageSize: 16 },
  { why: 'both, in a dense batch of single tokens, split', lengths: [[203, 1, 1], [64, 1, 1], [900, 1, 1]], heads: [8, 1], headDim: 32, dtype: 'f16', bits: 'nothing', bias: 'f16', numSplits: 3, ...GPU },
  { why: 'first keys after left padding', lengths: MIXED, ragged: true, heads: [4, 1], headDim: 32, dtype: 'f32', causal: true, windowSize: [20, -1], firstKeys: 7, leftpad: true, pageSize: 3 },
  { why: 'first keys, lengths on the GPU, chunks', lengths: [[203, 1, 1], [64, 1, 1], [1900, 1, 1]], heads: [8, 1], headDim: 32, dtype: 'f16', attentionChunk: 150, firstKeys: 40, leftpad: true, onGpu: true, numSplits: 3, ...GPU },
  { why: 'plain: bits over pages, numbers on the GPU', device: 'plain', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 32, dtype: 'f32', bits: 'heads', pageSize: 3, onGpu: true, alibi: true, rotary: { dim: 32, interleaved: true } },
  { why: 'both, pages and rows that are not there', lengths: MIXED, ragged: true, heads: [4, 2], headDim: 32, dtype: 'f32', bits: 'heads', bias: 'f32', batchIdx: true, missing: 'pages', pageSize: 3, onGpu: true, rotary: { dim: 32, interleaved: true } },
];

/** Layers with biases of their own, and a step whose mask has other bits. */
const plans: GpuCase = {
  name: 'plans: a bias for each layer, a mask for each step',
  run: (t) =>
    withRuntime(t, async (runtime) => {
      const { device } = runtime;
      const varlenCase = { ...BASE, why: '', lengths: RAGGED, bits: 'nothing', bias: 'f32' } as const;
      const { args, lent } = place(device, varlenCase, draw(varlenCase));
      const other = place(device, varlenCase, draw({ ...varlenCase, seed: 2 }));
      const out = upload(device, 'f32', args.q.shape, new Float32Array(elementCount(args.q.shape)));
      const plan = planAttnVarlen(runtime, args);
      const expectSame = async (layer: Partial<AttnVarlenArgs>, what: string): Promise<void> => {
        plan.record({ bias: layer.bias, out });
        const called = attnVarlen(runtime, { ...args, ...layer });
        assertEqual(await download(device, out), await download(device, called.out), what);
        called.out.buffer.destroy();
      };
      await expectSame({}, 'the bias of the plan');
      await expectSame({ bias: other.args.bias }, 'that of another layer');
      const { mask } = other.args;
      plan.update({ mask });
      await expectSame({ mask }, 'another mask');
      // The same tensor with other bits.
      device.queue.writeBuffer(mask!.buffer, 0, new Uint32Array(mask!.buffer.size / 4).fill(0x0ff0));
      plan.update({ mask });
      await expectSame({ mask }, 'other bits');
      plan.destroy();
      for (const { buffer } of [...lent, ...other.lent, out]) buffer.destroy();
    }),
};

/** Strides of 0, and the lowest numbers that do not hide a key. */
const shared: GpuCase = {
  name: 'a row that all share by strides of 0; biases of -9e29 and -1.01e30',
  run: (t) =>
    withRuntime(t, async (runtime) => {
      const { device } = runtime;
      const [nKeys, headDim] = [70, 16];
      const random = new Random(3);
      const normals = (shape: readonly number[]) => ({ shape, data: random.normals(elementCount(shape)) });
      const [q, k, v] = [
        normals([2, 5, 2, headDim]),
        normals([2, nKeys, 1, headDim]),
        normals([2, nKeys, 1, headDim]),
      ];
      const row = Float32Array.from({ length: nKeys }, (_, j) => [-9e29, -1.01e30, -9e29][j % 3]!);
      const words = Uint32Array.of(0xffff0000, 0x0000ffff, 0xff);
      const lent = [q, k, v].map(({ shape, data }) => upload(device, 'f32', shape, data));
      const bias = upload(device, 'f32', [1, 1, 1, nKeys], row);
      const mask = upload(device, 'u32', [1, 1, 1, 3], words);
      const everyRow = (tensor: Tensor): Tensor => ({
        ...tensor,
        shape: [2, 2, 5, tensor.shape[3]!],
        strides: [0, 0, 0, 1],
      });
      const result = attn(runtime, {
        q: lent[0]!,
        k: lent[1]!,
        v: lent[2]!,
        bias: everyRow(bias),
        mask: everyRow(mask),
        returnLse: true,
      });
      const repeated = <Numbers extends Float32Array | Uint32Array>(numbers: Numbers): Numbers => {
        const all = new (numbers.constructor as new (length: number) => Numbers)(20 * numbers.length);
        for (let i = 0; i < 20; i++) all.set(numbers, i * numbers.length);
        return all;
      };
      const want = attnReference({
        q,
        k,
        v,
        bias: { shape: [2, 2, 5, nKeys], data: repeated(row) },
        mask: { shape: [2, 2, 5, 3], data: repeated(words) },
      });
      checkOut({ actual: await download(device, result.out), reference: want.out.data, dtype: 'f32' });
      const lse = await download(device, result.lse);
      assert(
        lse.every((x) => Math.abs(x / -9e29 - 1) < 1e-6),
        `the lse is ${lse[0]}`,
      );
      for (const { buffer } of [...lent, bias, mask, result.out, result.lse]) buffer.destroy();
    }),
};

export const cases: GpuCase[] = [
  plans,
  shared,
  ...attentionCases(varlen, checkVarlen),
  ...attentionCases(kvCache, checkKvCache),
  ...attentionCases(
    varlen.filter(({ numSplits }) => !numSplits),
    checkVarlenWeights,
    'weights: ',
  ),
  ...attentionCases(kvCache, checkKvCacheWeights, 'weights: '),
];
