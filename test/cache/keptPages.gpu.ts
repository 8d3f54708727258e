import { attnWithKvCache, PagedKvCache, PageManager } from '../../src/index.js';
import { attnReference, type HostTensor } from '../../src/reference/attention.js';
import { download, upload } from '../../tools/deviceTensor.js';
import { Random } from '../../tools/random.js';
import { assert, assertEqual, type GpuCase } from '../platforms/gpuCase.js';
import { withRuntime } from '../platforms/withRuntime.js';
import { checkOut } from '../reference/tolerance.js';

// A conversation longer than its pool: first keys and a window are in pages, and what lies between them is not.

const [N_HEADS, N_KV_HEADS, D, PAGE_SIZE] = [4, 2, 32, 4];
const MASKS = { causal: true, windowSize: [6, 0], firstKeys: 5 } as const;
/** Two pages of first keys, three of the window, and one for a step that begins a page. */
const N_PAGES = 6;
const STEPS = [4, 3, ...Array<number>(30).fill(1), 4, 1];

function joined(tensors: readonly HostTensor[]): HostTensor {
  const data = Float32Array.from(tensors.flatMap((tensor) => [...tensor.data]));
  return { data, shape: [1, data.length / (N_KV_HEADS * D), N_KV_HEADS, D] };
}

export const cases: GpuCase[] = [
  {
    name: 'a conversation of any length goes on in a few pages, of its first keys and its window',
    run: (t) =>
      withRuntime(t, async (runtime) => {
        const { device } = runtime;
        const random = new Random(1);
        const cache = await PagedKvCache.create(runtime, {
          nLayers: 1,
          nKvHeads: N_KV_HEADS,
          headDim: D,
          dtype: 'f32',
          pageSize: PAGE_SIZE,
          nPages: N_PAGES,
        });
        const { windowSize, firstKeys } = MASKS;
        const pages = new PageManager({
          nPages: N_PAGES,
          pageSize: PAGE_SIZE,
          window: windowSize[0],
          firstKeys,
        });
        const chat = pages.add([]);
        const keys: HostTensor[] = [];
        const values: HostTensor[] = [];
        for (const n of STEPS) {
          const draw = (nHeads: number): HostTensor => ({
            shape: [1, n, nHeads, D],
            data: random.normals(n * nHeads * D),
          });
          const [q, k, v] = [draw(N_HEADS), draw(N_KV_HEADS), draw(N_KV_HEADS)];
          keys.push(k);
          values.push(v);
          pages.append(
            chat,
            Array.from({ length: n }, () => random.int(0, 100)),
          );
          const copies = pages.reserve(chat);
          assert(copies !== 'full', 'the pool is full');
          cache.copyPages(copies);
          const onGpu = ({ shape, data }: HostTensor) => upload(device, 'f32', shape.slice(1), data);
          const { out } = attnWithKvCache(runtime, {
            q: onGpu(q),
            k: onGpu(k),
            v: onGpu(v),
            ...cache.layer(0),
            ...pages.batch([chat]),
            ...MASKS,
          });
          pages.commit(chat);
          const reference = attnReference({ q, k: joined(keys), v: joined(values), ...MASKS }).out.data;
          checkOut({ actual: await download(device, out), reference, dtype: 'f32', kvCache: true });
        }
        assertEqual(pages.sequence(chat).nPages, 5, 'pages at the end');
        cache.destroy();
      }),
  },
];
