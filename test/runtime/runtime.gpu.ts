import {
  attn,
  attnVarlen,
  attnVariants,
  attnWithKvCache,
  createRuntime,
  PageflashError,
  requestDevice,
} from '../../src/index.js';
import { attnReference } from '../../src/reference/attention.js';
import { BROKEN_KERNEL } from './brokenKernel.js';
import { countCalls } from '../../tools/countCalls.js';
import { download, downloadBuffer, upload } from '../../tools/deviceTensor.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { drawKvCache, placeKvCache, type KvCacheCase } from '../attention/kvCacheCase.js';
import { Random } from '../../tools/random.js';
import { checkLse, checkOut } from '../reference/tolerance.js';
import { compare, draw, place, SMALL_VARLEN } from '../attention/varlenCase.js';
import { withRuntime } from '../platforms/withRuntime.js';

export const cases: GpuCase[] = [
  {
    name: 'attn equals the reference over a dense batch with strides',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const random = new Random(3);
        const host = (shape: readonly number[]) => ({
          shape,
          data: random.normals(shape.reduce((product, size) => product * size)),
        });
        const [q, k, v] = [host([3, 17, 4, 80]), host([3, 40, 2, 80]), host([3, 40, 2, 80])];
        const options = { causal: true, alibiSlopes: random.uniforms(12, 0, 0.3) };
        // Keys and values as [B, heads, tokens, dims] in memory.
        const headsFirst = (tokens: number, heads: number, dims: number) => ({
          strides: [heads * tokens * dims, dims, tokens * dims, 1],
        });
        const tensors = {
          q: upload(device, 'f32', q.shape, q.data),
          k: upload(device, 'f32', k.shape, k.data, headsFirst(40, 2, 80)),
          v: upload(device, 'f32', v.shape, v.data, headsFirst(40, 2, 80)),
        };
        const { out, lse } = attn(runtime, { ...tensors, ...options, returnLse: true });
        const want = attnReference({ q, k, v, ...options });
        assertEqual(out.shape, [3, 17, 4, 80], 'shape of out');
        assertEqual(lse!.shape, [3, 4, 17], 'shape of lse');
        checkOut({ actual: await download(device, out), reference: want.out.data, dtype: 'f32' });
        checkLse({ actual: await download(device, lse!), reference: want.lse.data });
      }),
  },
  {
    name: "calls recorded into the caller's pass do not disturb each other",
    why: 'both are recorded before either runs, so neither may reuse what the other has uploaded',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const batches = [
          SMALL_VARLEN,
          { ...SMALL_VARLEN, lengths: [[64, 64]] as const, seed: 2, onGpu: true, sinks: true },
          SMALL_VARLEN,
        ];
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        const runs = batches.map((varlen) => {
          const inputs = draw(varlen);
          const { args } = place(device, varlen, inputs);
          return { varlen, inputs, result: attnVarlen(runtime, { ...args, returnLse: true, pass }) };
        });
        pass.end();
        device.queue.submit([encoder.finish()]);
        for (const { varlen, inputs, result } of runs) {
          const out = await download(device, result.out);
          compare(varlen, inputs, { out, lse: await download(device, result.lse!) });
        }
      }),
  },
  {
    name: 'pages and one run of keys give the same bits',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const bits = async (pageSize?: number) => {
          const varlen = { ...SMALL_VARLEN, dtype: 'f16' as const, ...(pageSize && { pageSize }) };
          const { args } = place(device, varlen, draw(varlen));
          return new Uint32Array(await downloadBuffer(device, attnVarlen(runtime, args).out.buffer));
        };
        assertEqual(await bits(7), await bits(), 'out');
      }),
  },
  {
    name: 'a batch of no sequences, queries or keys writes nothing and does not fail',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const none = upload(device, 'f32', [0, 2, 64], []);
        const { out, lse } = attnVarlen(runtime, {
          q: none,
          k: none,
          v: none,
          cuSeqlensQ: [0],
          cuSeqlensK: [0],
          returnLse: true,
        });
        assertEqual(out.shape, [0, 2, 64], 'shape of out');
        assertEqual(lse!.shape, [2, 0], 'shape of lse');
        const q = upload(device, 'f32', [3, 2, 64], new Float32Array(384).fill(1));
        const noKeys = attnVarlen(runtime, { q, k: none, v: none, cuSeqlensQ: [0, 3], cuSeqlensK: [0, 0] });
        assertEqual(await download(device, noKeys.out), new Float32Array(384), 'out without keys');
      }),
  },
  {
    name: 'with wrong lengths on the GPU, nothing outside the tensors is read or written',
    why: 'the host cannot check them',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const q = upload(device, 'f32', [4, 2, 64], new Float32Array(512).fill(1), { offset: 64 });
        const k = upload(device, 'f32', [6, 2, 64], new Float32Array(768).fill(1), { offset: 64 });
        const guarded = upload(device, 'f32', [6, 2, 64], new Float32Array(768).fill(7));
        const out = { ...guarded, shape: [4, 2, 64], offset: 128 };
        attnVarlen(runtime, {
          q,
          k,
          v: k,
          out,
          cuSeqlensQ: upload(device, 'i32', [4], [-5, 3, 2, 99]),
          cuSeqlensK: upload(device, 'i32', [4], [3, -7, 1000, 2 ** 31 - 1]),
          maxSeqlenQ: 1000,
          maxSeqlenK: 1000,
        });
        const all = await download(device, guarded);
        assert(
          all.slice(0, 128).every((x) => x === 7),
          'elements before out were written',
        );
        assert(
          all.slice(640).every((x) => x === 7),
          'elements behind out were written',
        );
        assert(
          all.every((x) => x === 7 || x === 1 || x === 0),
          'something outside of k and v was read',
        );
      }),
  },
  {
    name: 'prepare compiles what a call then needs',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        await runtime.prepare(
          attnVariants(runtime, { headDim: 64, dtype: 'f32', group: 2, decodeTokens: 1 }),
        );
        const { args } = place(device, SMALL_VARLEN, draw(SMALL_VARLEN));
        const counts = countCalls(device, () => {
          attnVarlen(runtime, args);
          attnVarlen(runtime, args);
        });
        const split = countCalls(device, () => void attnVarlen(runtime, { ...args, numSplits: 2 }));
        assertEqual(counts.createShaderModule + counts.createComputePipeline, 0, 'compiled by a call');
        assertEqual(split.createShaderModule + split.createComputePipeline, 0, 'compiled for split keys');
        assertEqual(counts.createBindGroup, 4, 'bind groups of two kernels for two outputs');
      }),
  },
  {
    name: 'so do calls with a cache',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const kvCase: KvCacheCase = {
          why: '',
          lengths: [
            [40, 1, 1],
            [300, 1, 1],
          ],
          heads: [4, 2],
          headDim: 64,
          dtype: 'f32',
          pageSize: 16,
          rotary: { dim: 64, interleaved: true },
        };
        const variants = {
          headDim: 64,
          dtype: 'f32',
          paged: true,
          group: 2,
          decodeTokens: 1,
          newDType: 'f32',
          rotary: true,
        } as const;
        await runtime.prepare(attnVariants(runtime, variants));
        const { args } = placeKvCache(device, kvCase, drawKvCache(kvCase));
        const counts = countCalls(device, () => {
          attnWithKvCache(runtime, args);
          attnWithKvCache(runtime, { ...args, numSplits: 3 });
        });
        assertEqual(counts.createShaderModule + counts.createComputePipeline, 0, 'compiled by a call');
      }),
  },
  {
    name: 'a kernel that the compiler refuses is reported with its line',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const error = await runtime.prepare([{ kernel: BROKEN_KERNEL, spec: { SIZE: 4 } }]).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        assert(
          error instanceof PageflashError && error.code === 'compile',
          `it was not refused: ${String(error)}`,
        );
        assert(error.message.includes('broken{SIZE=4}'), `no variant in: ${error.message}`);
        assert(error.message.includes('let x: u32 = -1.5;'), `no line in: ${error.message}`);
      }),
  },
  {
    name: 'a device works whose adapter is forgotten',
    why: 'wgpu forgets the properties of an adapter once it is garbage-collected, and Deno then panics',
    async run() {
      const device = await requestDevice();
      // Processes of platforms are started with --expose-gc; elsewhere the adapter is forgotten sooner or later.
      const { gc = () => {} } = globalThis as { readonly gc?: () => void };
      for (let turn = 0; turn < 3; turn++) {
        await device.queue.onSubmittedWorkDone();
        gc();
      }
      const runtime = createRuntime(device);
      assert(runtime.traits.maxWorkgroupBytes > 0, 'the runtime knows its device');
      runtime.destroy();
      device.destroy();
    },
  },
  {
    name: 'a profile has the time of each dispatch',
    run: async (t) => {
      const device = await t.device('full');
      if (!device.features.has('timestamp-query')) {
        assert(t.platform !== 'node' || t.features !== 'all', 'Dawn in Node has timestamps');
        return;
      }
      const runtime = createRuntime(device, { profile: true });
      const varlen = { ...SMALL_VARLEN, onGpu: true };
      attnVarlen(runtime, place(device, varlen, draw(varlen)).args);
      const times = await runtime.takeProfile();
      assertEqual(
        times.map(({ kernel }) => kernel),
        ['gather_lengths', 'attn_prefill'],
        'kernels',
      );
      assert(
        times.every(({ microseconds }) => microseconds >= 0),
        'a time is negative',
      );
      assertEqual((await runtime.takeProfile()).length, 0, 'times taken twice');
      runtime.destroy();
    },
  },
  {
    name: 'memory is a few bytes per sequence, is reused, and is freed',
    run: async (t) => {
      const device = await t.device('full');
      const runtime = createRuntime(device);
      assertEqual(runtime.memoryBytes, 0, 'bytes at the start');
      const { args } = place(device, SMALL_VARLEN, draw(SMALL_VARLEN));
      const { out } = attnVarlen(runtime, args);
      const once = runtime.memoryBytes;
      assert(once > 0 && once < 8192, `${once} bytes for two sequences`);
      for (let run = 0; run < 20; run++) attnVarlen(runtime, { ...args, out });
      assertEqual(runtime.memoryBytes, once, 'bytes after more calls');
      runtime.destroy();
      assertEqual(runtime.memoryBytes, 0, 'bytes after destroy');
      await download(device, out);
    },
  },
];
