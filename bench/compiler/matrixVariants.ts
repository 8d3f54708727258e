import type { DeviceTraits } from '../../src/core/deviceTraits.js';
import { hasScales, isQuantised, type FloatDType, type KvDType } from '../../src/core/dtype.js';
import {
  attnMatrixKernel,
  matrixInvocations,
  matrixSpec,
  matrixTileRows,
  type MatrixTile,
} from '../../src/kernels/attnMatrix.js';
import type { AttentionFeatures } from '../../src/kernels/shared/attention.js';
import { matrixDecodeCandidates, matrixPrefillCandidates } from '../../src/plan/matrixTile.js';
import { link } from '../../src/wgsl/link.js';

/** RDNA3 as a browser shows it that lets kernels demand a size of subgroups. */
const RDNA3: DeviceTraits = {
  deviceClass: 'gpu',
  vendor: 'amd',
  architecture: 'rdna-3',
  tier: 'T2',
  shaderF16: true,
  subgroupMinSize: 32,
  subgroupMaxSize: 64,
  subgroupSizeControl: true,
  matrices: { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 },
  matricesNote: '',
  maxWorkgroupBytes: 32768,
  maxWorkgroupInvocations: 1024,
  maxWorkgroupsPerDimension: 65535,
  maxBindingBytes: 2 ** 31,
  tuning: null,
  maxStorageBuffers: 16,
};

const HEAD_DIMS = [64, 128, 256];
const DTYPES = ['f16', 'bf16'] as const;

/** A cache as attn_matrix is to read it. */
interface Cache {
  readonly name: string;
  readonly kvDType: KvDType;
  /** Whether queries are turned. */
  readonly turned?: boolean;
}

const FORMATS: readonly Cache[] = [
  { name: 'i8', kvDType: 'i8' },
  { name: 'i8 turned', kvDType: 'i8', turned: true },
  { name: 'e4m3', kvDType: 'e4m3' },
  { name: 'i4', kvDType: 'i4' },
  { name: 'i4 turned', kvDType: 'i4', turned: true },
];

/**
 * attn_matrix for prompts, and for chunks of the keys of steps of eight rows, where RDNA3 has tiles for them: heads of 256
 * would leave too few registers. Of quantised caches prompts in pages.
 */
export function matrixVariants() {
  return HEAD_DIMS.flatMap((headDim) =>
    DTYPES.flatMap((dtype) => [
      ...[true, false].flatMap((paged) => {
        const { prompt, step } = variantsOf(headDim, dtype, paged, { name: '', kvDType: dtype });
        return [...prompt, ...step];
      }),
      ...FORMATS.flatMap((cache) => variantsOf(headDim, dtype, true, cache).prompt),
    ]),
  );
}

function variantsOf(
  headDim: number,
  dtype: FloatDType,
  paged: boolean,
  { name, kvDType, turned = false }: Cache,
) {
  const args = {
    headDim,
    headDimV: headDim,
    qDType: turned ? 'f32' : dtype,
    turnedDType: turned ? dtype : undefined,
    kvDType,
    paged,
  } as const;
  const quantised = isQuantised(kvDType);
  const features = {
    ...args,
    qWide: true,
    kvWide: true,
    keyRun: 1,
    scaleDType: hasScales(kvDType) ? 'f16' : null,
    outWide: true,
    outOctets: true,
    softcap: false,
    alibi: false,
    firstKeys: false,
    mask: false,
    bias: null,
  } as const;
  const cache = quantised ? ` cache ${name}` : '';
  const label = `T2 attn_matrix D${headDim} ${dtype}${cache} ${paged ? 'paged' : 'contiguous'}`;
  const [prompt] = matrixPrefillCandidates(RDNA3, args);
  const [step] = matrixDecodeCandidates(RDNA3, { ...args, nRows: 8 });
  return {
    prompt: prompt ? [variantOf(`${label} prompt`, prompt, features, false)] : [],
    step: step ? [variantOf(`${label} group 8`, step, features, true)] : [],
  };
}

function variantOf(label: string, tile: MatrixTile, features: AttentionFeatures, split: boolean) {
  return {
    label,
    kernel: attnMatrixKernel.name,
    code: link(attnMatrixKernel, matrixSpec(tile, features, split)),
    workgroupSize: matrixInvocations(tile),
    tile: { rows: matrixTileRows(tile), keys: tile.keys },
  };
}
