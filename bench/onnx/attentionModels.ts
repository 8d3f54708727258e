import type { FloatDType } from '../../src/core/dtype.js';
import { onnxFile, type Value } from '../../tools/onnx/onnxModel.js';

/** Operators of onnxruntime's own that a language model is exported with. */
export type Operator = 'GroupQueryAttention' | 'PagedAttention';

/** It has no bf16. */
export type OnnxDType = Exclude<FloatDType, 'bf16'>;

/** What a model fixes; lengths and batches are left to each run. */
export interface ModelShape {
  readonly operator: Operator;
  readonly dtype: OnnxDType;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly headDim: number;
}

/** An ONNX model of one node, whose inputs and outputs have the names that the operator gives them. */
export function attentionModel(shape: ModelShape): Uint8Array {
  const { operator, nHeads, nKvHeads, headDim } = shape;
  const { inputs, outputs } = SIGNATURES[operator](shape);
  const namesOf = (values: readonly Value[]) => values.map(({ name }) => name);
  const node = {
    op: operator,
    isContrib: true,
    inputs: namesOf(inputs),
    outputs: namesOf(outputs),
    ints: { num_heads: nHeads, kv_num_heads: nKvHeads },
    floats: { scale: 1 / Math.sqrt(headDim) },
  };
  return onnxFile({ name: operator, inputs, outputs, nodes: [node] });
}

interface Signature {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
}

const SIGNATURES: Readonly<Record<Operator, (shape: ModelShape) => Signature>> = {
  GroupQueryAttention({ dtype, nHeads, nKvHeads, headDim }) {
    const rows = (name: string, heads: number): Value => ({ name, dtype, dims: ['B', 'S', heads * headDim] });
    const cache = (name: string): Value => ({ name, dtype, dims: ['B', nKvHeads, 'slots', headDim] });
    return {
      inputs: [
        rows('query', nHeads),
        rows('key', nKvHeads),
        rows('value', nKvHeads),
        cache('past_key'),
        cache('past_value'),
        { name: 'seqlens_k', dtype: 'i32', dims: ['B'] },
        { name: 'total_sequence_length', dtype: 'i32', dims: [1] },
      ],
      outputs: [rows('output', nHeads), cache('present_key'), cache('present_value')],
    };
  },
  PagedAttention({ dtype, nHeads, nKvHeads, headDim }) {
    const rows = (name: string, heads: number): Value => ({ name, dtype, dims: ['tokens', heads * headDim] });
    const cache = (name: string): Value => ({ name, dtype, dims: ['pages', 'page', nKvHeads, headDim] });
    return {
      inputs: [
        rows('query', nHeads),
        rows('key', nKvHeads),
        rows('value', nKvHeads),
        cache('key_cache'),
        cache('value_cache'),
        { name: 'cumulative_sequence_length', dtype: 'i32', dims: ['ends'] },
        { name: 'past_seqlens', dtype: 'i32', dims: ['B'] },
        { name: 'block_table', dtype: 'i32', dims: ['B', 'width'] },
      ],
      outputs: [rows('output', nHeads), cache('key_cache_out'), cache('value_cache_out')],
    };
  },
};
