import type { FloatDType } from '../../src/core/dtype.js';
import { bytesField, concat, floatField, intField } from './protobuf.js';

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
  const node = concat([
    ...inputs.map(({ name }) => bytesField(NODE.input, name)),
    ...outputs.map(({ name }) => bytesField(NODE.output, name)),
    bytesField(NODE.opType, operator),
    bytesField(NODE.domain, CONTRIB),
    ...Object.entries({ num_heads: nHeads, kv_num_heads: nKvHeads }).map(([name, value]) =>
      attribute(name, 'INT', intField(ATTRIBUTE.i, value)),
    ),
    attribute('scale', 'FLOAT', floatField(ATTRIBUTE.f, 1 / Math.sqrt(headDim))),
  ]);
  const graph = concat([
    bytesField(GRAPH.node, node),
    bytesField(GRAPH.name, operator),
    ...inputs.map((value) => bytesField(GRAPH.input, valueInfo(value))),
    ...outputs.map((value) => bytesField(GRAPH.output, valueInfo(value))),
  ]);
  return concat([
    intField(MODEL.irVersion, 8),
    bytesField(MODEL.graph, graph),
    bytesField(MODEL.opsetImport, opset('', 17)),
    bytesField(MODEL.opsetImport, opset(CONTRIB, 1)),
  ]);
}

const CONTRIB = 'com.microsoft';

// Field numbers of onnx.proto.
const MODEL = { irVersion: 1, graph: 7, opsetImport: 8 };
const GRAPH = { node: 1, name: 2, input: 11, output: 12 };
const NODE = { input: 1, output: 2, opType: 4, attribute: 5, domain: 7 };
const ATTRIBUTE = { name: 1, f: 2, i: 3, type: 20 };
const VALUE = { name: 1, type: 2, tensorType: 1, elementType: 1, shape: 2, dim: 1, dimValue: 1, dimName: 2 };
const ATTRIBUTE_TYPES = { FLOAT: 1, INT: 2 };
const ELEMENT_TYPES = { f32: 1, i32: 6, f16: 10 };

interface Value {
  readonly name: string;
  readonly dtype: keyof typeof ELEMENT_TYPES;
  /** Numbers, and names of what each run decides. */
  readonly dims: readonly (number | string)[];
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

function attribute(name: string, type: keyof typeof ATTRIBUTE_TYPES, value: Uint8Array): Uint8Array {
  const fields = [bytesField(ATTRIBUTE.name, name), value, intField(ATTRIBUTE.type, ATTRIBUTE_TYPES[type])];
  return bytesField(NODE.attribute, concat(fields));
}

function valueInfo({ name, dtype, dims }: Value): Uint8Array {
  const shape = dims.map((dim) =>
    bytesField(
      VALUE.dim,
      typeof dim === 'number' ? intField(VALUE.dimValue, dim) : bytesField(VALUE.dimName, dim),
    ),
  );
  const tensor = [intField(VALUE.elementType, ELEMENT_TYPES[dtype]), bytesField(VALUE.shape, concat(shape))];
  const type = bytesField(VALUE.tensorType, concat(tensor));
  return concat([bytesField(VALUE.name, name), bytesField(VALUE.type, type)]);
}

function opset(domain: string, version: number): Uint8Array {
  return concat([bytesField(1, domain), intField(2, version)]);
}
