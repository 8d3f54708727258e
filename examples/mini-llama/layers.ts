// The layers of a Llama besides attention, in f32 with sums in f64. Activations are [tokens, size], row after row.

type Numbers = Float32Array<ArrayBuffer>;

/** A weight matrix as checkpoints store it: [nOut, nIn]. */
export interface Matrix {
  readonly nOut: number;
  readonly nIn: number;
  readonly data: Numbers;
}

/** The embedding of each token: [tokens, hiddenSize]. */
export function embed(table: Matrix, tokens: ArrayLike<number>): Numbers {
  const hidden = new Float32Array(tokens.length * table.nIn);
  for (let t = 0; t < tokens.length; t++) hidden.set(rowOf(table.data, table.nIn, tokens[t]!), t * table.nIn);
  return hidden;
}

/** x · weightᵀ: [tokens, nIn] → [tokens, nOut]. */
export function linear({ nOut, nIn, data }: Matrix, x: Numbers): Numbers {
  const nTokens = x.length / nIn;
  const y = new Float32Array(nTokens * nOut);
  for (let t = 0; t < nTokens; t++) {
    for (let o = 0; o < nOut; o++) {
      let sum = 0;
      for (let i = 0; i < nIn; i++) sum += x[t * nIn + i]! * data[o * nIn + i]!;
      y[t * nOut + o] = sum;
    }
  }
  return y;
}

/** RMSNorm: each row of x divided by its root mean square, times the weight [hiddenSize]. */
export function rmsNorm(weight: Numbers, x: Numbers, epsilon: number): Numbers {
  const size = weight.length;
  const y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += size) {
    let sumOfSquares = 0;
    for (let i = 0; i < size; i++) sumOfSquares += x[start + i]! ** 2;
    const scale = 1 / Math.sqrt(sumOfSquares / size + epsilon);
    for (let i = 0; i < size; i++) y[start + i] = x[start + i]! * scale * weight[i]!;
  }
  return y;
}

/** silu(gate) · up, element by element. */
export function swiGlu(gate: Numbers, up: Numbers): Numbers {
  return gate.map((x, i) => (x / (1 + Math.exp(-x))) * up[i]!);
}

export function add(x: Numbers, y: Numbers): Numbers {
  return x.map((value, i) => value + y[i]!);
}

/** One row of an array [rows, size]. */
export function rowOf(numbers: Numbers, size: number, row: number): Numbers {
  return numbers.subarray(row * size, (row + 1) * size);
}

/** The index of the largest logit: the most likely token. */
export function argmax(logits: Numbers): number {
  let best = 0;
  for (let token = 1; token < logits.length; token++) if (logits[token]! > logits[best]!) best = token;
  return best;
}
