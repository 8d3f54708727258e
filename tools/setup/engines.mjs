import { setUp } from './setUp.mjs';

/** The global setup of the tests of examples in other engines. */
export async function setup() {
  await setUp(['chrome', 'onnxruntime', 'tensorflow', 'transformers']);
}
