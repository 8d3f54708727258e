import { UNIFORM, type Gpu, type Op } from '../gpu/gpu.js';
import type { Recorder } from '../gpu/recorder.js';
import markCode from './sample_mark.wgsl?raw';
import pickCode from './sample_pick.wgsl?raw';
import rowCode from './sample_row.wgsl?raw';
import scanCode from './sample_scan.wgsl?raw';
import tokensCode from './sample_tokens.wgsl?raw';
import { noiseKeys, scalesOf, type Sampling } from './sampling.js';

/** A row of logits from which a token is chosen. */
export interface SampleRow {
  readonly sampling: Sampling;
  /** Of the token to be chosen, in its sequence: with the seed, it decides the random bits. */
  readonly position: number;
  /** Tokens before it that the host knows. Only a repetition penalty needs them. */
  readonly history?: ArrayLike<number> | undefined;
  /** Tokens before it that are in the step's `ids`: `count` from `first` on. */
  readonly ids?: { readonly first: number; readonly count: number } | undefined;
}

export interface SamplerOptions {
  /** [rows, rowStride] f32, of which each row's first vocabSize are used. They are not changed. */
  readonly logits: GPUBuffer;
  readonly vocabSize: number;
  readonly rowStride: number;
  readonly maxRows: number;
  /** [tokens] u32: the tokens of a step, known on the GPU. */
  readonly ids: GPUBuffer;
  /** [maxRows] u32: where the chosen tokens go. Default: a buffer of the sampler's own */
  readonly sampled?: GPUBuffer | undefined;
}

// As in the kernels.
const ROW_WORDS = 16;
const PARTIAL_BYTES = 20;
/** What a workgroup of sample_scan reads of a row: two rounds of 256 lanes, of 4 quads each. */
const SLICE_QUADS = 2048;
/** At first. */
const HISTORY_BYTES = 4096;

/** Chooses tokens on the GPU: penalty, temperature, top-k, top-p, min-p, draw, as in transformers. */
export class Sampler {
  /** [maxRows] u32: the chosen tokens. For a row without any logit above −∞ it is token 0. */
  readonly sampled: GPUBuffer;
  /** [maxRows] f32: their log-probabilities under the softmax of the logits as they are; −∞ for such a row. */
  readonly logProbs: GPUBuffer;
  readonly #gpu: Gpu;
  readonly #options: SamplerOptions;
  readonly #nSlices: number;
  readonly #ops: Ops;
  #buffers: Buffers;
  #nRows = 0;
  #isPenalised = false;

  private constructor(gpu: Gpu, options: SamplerOptions, buffers: Buffers, ops: Ops) {
    this.#gpu = gpu;
    this.#options = options;
    this.#nSlices = slicesOf(options);
    this.#buffers = buffers;
    this.sampled = buffers.sampled;
    this.logProbs = buffers.logProbs;
    this.#ops = ops;
  }

  /** @throws RangeError for logits that do not fit what is said of them, or the device */
  static async create(gpu: Gpu, options: SamplerOptions): Promise<Sampler> {
    checkOptions(gpu, options);
    const { logits, vocabSize, rowStride } = options;
    const nSlices = slicesOf(options);
    const sizes = samplerSizes(options);
    const buffers: Buffers = {
      shape: gpu.bufferOf('sample shape', Uint32Array.of(vocabSize, rowStride, nSlices, 0), UNIFORM),
      rows: gpu.buffer('sample rows', sizes.rows),
      seen: gpu.buffer('sample seen', sizes.seen),
      partials: gpu.buffer('sample partials', sizes.partials),
      history: gpu.buffer('sample history', HISTORY_BYTES),
      sampled: options.sampled ?? gpu.buffer('sampled', sizes.sampled),
      logProbs: gpu.buffer('sample log-probabilities', sizes.logProbs),
    };
    const { shape, rows, seen, partials, sampled, logProbs } = buffers;
    const tokens = `${rowCode}${tokensCode}`;
    const marking = markBuffers(buffers, options);
    const mark = { name: 'sample_mark', code: `${rowCode}${markCode}` };
    const scan = { name: 'sample_scan', code: `${tokens}${scanCode}` };
    const pick = { name: 'sample_pick', code: `${tokens}${pickCode}` };
    const [markOp, clearOp, scanOp, pickOp] = await Promise.all([
      gpu.op({ ...mark, constants: { MARK: 1 } }, marking),
      gpu.op({ ...mark, constants: { MARK: 0 } }, marking),
      gpu.op(scan, [shape, rows, logits, seen, partials]),
      gpu.op(pick, [shape, rows, logits, seen, partials, sampled, logProbs]),
    ]);
    const ops = { mark: markOp, clear: clearOp, scan: scanOp, pick: pickOp };
    return new Sampler(gpu, options, buffers, ops);
  }

  /**
   * Says how the rows of the next step are sampled. Call it before `record`, once for each submit.
   *
   * @throws RangeError for more rows than `maxRows`
   */
  prepare(rows: readonly SampleRow[]): void {
    const { maxRows } = this.#options;
    if (rows.length > maxRows)
      throw new RangeError(`The sampler was made for ${maxRows} rows, not ${rows.length}.`);
    const records = new ArrayBuffer(rows.length * ROW_WORDS * 4);
    const histories = rows.map(({ sampling, history }) =>
      sampling.repetitionPenalty === 1 ? [] : (history ?? []),
    );
    let historyFirst = 0;
    rows.forEach((row, i) => {
      const view = new DataView(records, i * ROW_WORDS * 4, ROW_WORDS * 4);
      writeRow(view, row, { historyFirst, historyCount: histories[i]!.length });
      historyFirst += histories[i]!.length;
    });
    this.#writeHistories(histories, historyFirst);
    if (rows.length > 0) this.#gpu.device.queue.writeBuffer(this.#buffers.rows, 0, records);
    this.#nRows = rows.length;
    this.#isPenalised = rows.some(({ sampling }) => sampling.repetitionPenalty !== 1);
  }

  /** Chooses a token for each row of the last `prepare`. */
  record(recorder: Recorder): void {
    if (this.#nRows === 0) return;
    const { mark, clear, scan, pick } = this.#ops;
    if (this.#isPenalised) recorder.dispatch(mark, this.#nRows);
    recorder.dispatch(scan, this.#nSlices, this.#nRows);
    recorder.dispatch(pick, this.#nRows);
    if (this.#isPenalised) recorder.dispatch(clear, this.#nRows);
  }

  #writeHistories(histories: readonly ArrayLike<number>[], nTokens: number): void {
    if (nTokens === 0) return;
    if (nTokens * 4 > this.#buffers.history.size) this.#growHistory(nTokens * 4);
    const all = new Uint32Array(nTokens);
    let first = 0;
    for (const history of histories) {
      all.set(history, first);
      first += history.length;
    }
    this.#gpu.device.queue.writeBuffer(this.#buffers.history, 0, all);
  }

  #growHistory(bytes: number): void {
    const { maxStorageBufferBindingSize } = this.#gpu.device.limits;
    if (bytes > maxStorageBufferBindingSize)
      throw new RangeError(
        `The histories of a step take ${bytes} bytes, and the device binds at most ${maxStorageBufferBindingSize}.`,
      );
    this.#buffers.history.destroy(); // once what was submitted has run
    const history = this.#gpu.buffer('sample history', Math.min(2 * bytes, maxStorageBufferBindingSize));
    this.#buffers = { ...this.#buffers, history };
    for (const name of ['mark', 'clear'] as const) {
      const op = this.#ops[name];
      this.#ops[name] = {
        ...op,
        bindings: this.#gpu.device.createBindGroup({
          label: op.name,
          layout: op.pipeline.getBindGroupLayout(0),
          entries: markBuffers(this.#buffers, this.#options).map((buffer, binding) => ({
            binding,
            resource: { buffer },
          })),
        }),
      };
    }
  }
}

interface Buffers {
  readonly shape: GPUBuffer;
  readonly rows: GPUBuffer;
  readonly seen: GPUBuffer;
  readonly partials: GPUBuffer;
  readonly history: GPUBuffer;
  readonly sampled: GPUBuffer;
  readonly logProbs: GPUBuffer;
}

interface Ops {
  /** Bound to the history, which grows. */
  mark: Op;
  clear: Op;
  readonly scan: Op;
  readonly pick: Op;
}

function markBuffers({ shape, rows, history, seen }: Buffers, { ids }: SamplerOptions): readonly GPUBuffer[] {
  return [shape, rows, history, ids, seen];
}

type SamplerShape = Pick<SamplerOptions, 'vocabSize' | 'maxRows'>;

/** Returns the bytes of a sampler's buffers, before histories need more. */
export function samplerBytes(shape: SamplerShape): number {
  return Object.values(samplerSizes(shape)).reduce((sum, bytes) => sum + bytes, HISTORY_BYTES);
}

function samplerSizes({ vocabSize, maxRows }: SamplerShape) {
  return {
    rows: maxRows * ROW_WORDS * 4,
    seen: maxRows * Math.ceil((vocabSize + 3) / 32) * 4,
    partials: maxRows * slicesOf({ vocabSize }) * PARTIAL_BYTES,
    sampled: maxRows * 4,
    logProbs: maxRows * 4,
  };
}

function slicesOf({ vocabSize }: Pick<SamplerOptions, 'vocabSize'>): number {
  return Math.ceil((vocabSize + 3) / 4 / SLICE_QUADS);
}

function checkOptions({ device }: Gpu, { logits, vocabSize, rowStride, maxRows }: SamplerOptions): void {
  if (rowStride < vocabSize)
    throw new RangeError(`rowStride must be at least vocabSize, ${vocabSize}, not ${rowStride}.`);
  const bytes = Math.ceil(((maxRows - 1) * rowStride + vocabSize) / 4) * 16;
  if (logits.size < bytes)
    throw new RangeError(`logits of ${maxRows} rows must have ${bytes} bytes, not ${logits.size}.`);
  const { maxStorageBufferBindingSize, maxComputeWorkgroupsPerDimension } = device.limits;
  if (logits.size > maxStorageBufferBindingSize)
    throw new RangeError(
      `logits have ${logits.size} bytes, and the device binds at most ${maxStorageBufferBindingSize}; sample fewer rows at once.`,
    );
  if (maxRows > maxComputeWorkgroupsPerDimension)
    throw new RangeError(`maxRows must be at most ${maxComputeWorkgroupsPerDimension}, not ${maxRows}.`);
}

interface HistoryRange {
  readonly historyFirst: number;
  readonly historyCount: number;
}

/** Writes the struct Row of sample_row.wgsl. */
function writeRow(view: DataView, row: SampleRow, { historyFirst, historyCount }: HistoryRange): void {
  const { sampling, position, ids } = row;
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = sampling;
  const { plain, seenPositive, seenNegative, limit } = scalesOf(sampling);
  const [key0, key1] = noiseKeys(seed, position);
  const off = { topK: 0, topP: 2, logMinP: 1 };
  const floats = [plain, seenPositive, seenNegative, limit];
  floats.forEach((value, i) => view.setFloat32(4 * i, value, true));
  view.setUint32(16, temperature === 0 ? 0 : 1, true);
  view.setUint32(20, topK === 0 ? off.topK : topK, true);
  view.setFloat32(24, topP === 1 ? off.topP : topP, true);
  view.setFloat32(28, minP === 0 ? off.logMinP : Math.log(minP), true);
  const words = [
    key0,
    key1,
    repetitionPenalty === 1 ? 0 : 1,
    0,
    historyFirst,
    historyCount,
    ids?.first ?? 0,
    ids?.count ?? 0,
  ];
  words.forEach((value, i) => view.setUint32(32 + 4 * i, value, true));
}
