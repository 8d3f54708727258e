import { bytesField, concat, floatField, intField } from './protobuf.js';

/** An input or output of a model. */
export interface Value {
  readonly name: string;
  readonly dtype: keyof typeof ELEMENT_TYPES;
  /** Numbers, and names of what each run decides. */
  readonly dims: readonly (number | string)[];
}

/** An operator and its arguments; '' is an optional input that is left out. */
export interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whether it is one of onnxruntime's own, beyond the standard. */
  readonly isContrib?: boolean;
  readonly ints?: Readonly<Record<string, number>>;
  readonly floats?: Readonly<Record<string, number>>;
}

/** Numbers that a model contains. */
export interface Weight {
  readonly name: string;
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

export interface OnnxModel {
  readonly name: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** In an order in which they can be computed. */
  readonly nodes: readonly Node[];
  readonly weights?: readonly Weight[];
}

/** The bytes of an ONNX file. */
export function onnxFile({ name, inputs, outputs, nodes, weights = [] }: OnnxModel): Uint8Array {
  const graph = concat([
    ...nodes.map((node) => bytesField(GRAPH.node, nodeProto(node))),
    bytesField(GRAPH.name, name),
    ...weights.map((weight) => bytesField(GRAPH.initializer, tensorProto(weight))),
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
const GRAPH = { node: 1, name: 2, initializer: 5, input: 11, output: 12 };
const NODE = { input: 1, output: 2, opType: 4, attribute: 5, domain: 7 };
const ATTRIBUTE = { name: 1, f: 2, i: 3, type: 20 };
const TENSOR = { dims: 1, dataType: 2, name: 8, rawData: 9 };
const VALUE = { name: 1, type: 2, tensorType: 1, elementType: 1, shape: 2, dim: 1, dimValue: 1, dimName: 2 };
const ATTRIBUTE_TYPES = { FLOAT: 1, INT: 2 };
const ELEMENT_TYPES = { f32: 1, i32: 6, f16: 10 };

function nodeProto({ op, inputs, outputs, isContrib = false, ints = {}, floats = {} }: Node): Uint8Array {
  return concat([
    ...inputs.map((input) => bytesField(NODE.input, input)),
    ...outputs.map((output) => bytesField(NODE.output, output)),
    bytesField(NODE.opType, op),
    ...(isContrib ? [bytesField(NODE.domain, CONTRIB)] : []),
    ...Object.entries(ints).map(([name, value]) => attribute(name, 'INT', intField(ATTRIBUTE.i, value))),
    ...Object.entries(floats).map(([name, value]) =>
      attribute(name, 'FLOAT', floatField(ATTRIBUTE.f, value)),
    ),
  ]);
}

function attribute(name: string, type: keyof typeof ATTRIBUTE_TYPES, value: Uint8Array): Uint8Array {
  const fields = [bytesField(ATTRIBUTE.name, name), value, intField(ATTRIBUTE.type, ATTRIBUTE_TYPES[type])];
  return bytesField(NODE.attribute, concat(fields));
}

function tensorProto({ name, dims, data }: Weight): Uint8Array {
  return concat([
    ...dims.map((dim) => intField(TENSOR.dims, dim)),
    intField(TENSOR.dataType, ELEMENT_TYPES.f32),
    bytesField(TENSOR.name, name),
    bytesField(TENSOR.rawData, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  ]);
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
