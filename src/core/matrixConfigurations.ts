/** Shape and types of one multiplication of a device's subgroup matrices: [M × K] · [K × N] → [M × N]. */
export interface MatrixConfiguration {
  /** Of what is multiplied. */
  readonly componentType: 'f16' | 'f32';
  /** Of the sums. */
  readonly resultComponentType: 'f32';
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** A configuration as an adapter lists it: of any types and sizes. */
export interface AdapterMatrix {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** M, N and K, best first: the more a multiplication does, the fewer loads it takes. Others follow, larger ones first. */
const PREFERRED = ['16×16×16', '16×8×16', '16×8×8', '8×16×16', '8×8×8'];

/** What else decides whether a device can run kernels that use matrices. */
export interface MatrixDevice {
  readonly shaderF16: boolean;
  /** 0 without subgroups. */
  readonly subgroupMaxSize: number;
  readonly maxWorkgroupInvocations: number;
}

/** The configuration that kernels are to use, or a sentence that says why they can use none. */
export type MatrixChoice = { readonly matrices: MatrixConfiguration } | { readonly refusal: string };

/**
 * Chooses among the configurations that an adapter lists. Sums must be f32: those of f16 lose what attention needs. Of what
 * is multiplied f16 comes first, since matrices of f32 take twice the memory.
 */
export function chooseMatrices(listed: readonly AdapterMatrix[], device: MatrixDevice): MatrixChoice {
  const usable = listed.filter(isUsable);
  if (usable.length === 0) {
    const names = listed.map(matrixName).join(', ') || 'none';
    return {
      refusal: `no configuration of the adapter multiplies f16 or f32 into sums of f32 in multiples of 8; there are ${names}.`,
    };
  }
  const allowed = usable.filter(({ componentType }) => componentType === 'f32' || device.shaderF16);
  if (allowed.length === 0)
    return {
      refusal: 'the configurations of the adapter multiply f16, and the device was made without shader-f16.',
    };
  if (device.subgroupMaxSize === 0) return { refusal: 'the device was made without subgroups.' };
  if (device.maxWorkgroupInvocations < device.subgroupMaxSize)
    return {
      refusal: `a subgroup may have ${device.subgroupMaxSize} invocations, but the device allows ${device.maxWorkgroupInvocations} in a workgroup.`,
    };
  const [first] = allowed.toSorted((a, b) => compare(rankOf(a), rankOf(b)));
  const { componentType, resultComponentType, M, N, K } = first!;
  return { matrices: { componentType, resultComponentType, M, N, K } };
}

/** Such as `f16 → f32 in 16×8×16`. */
export function matrixName({ componentType, resultComponentType, ...sizes }: AdapterMatrix): string {
  return `${componentType} → ${resultComponentType} in ${sizesOf(sizes)}`;
}

/** Whether two configurations are the same. */
export function isSameMatrix(a: AdapterMatrix, b: AdapterMatrix): boolean {
  return matrixName(a) === matrixName(b);
}

function isUsable(listed: AdapterMatrix): listed is MatrixConfiguration {
  const { componentType, resultComponentType, M, N, K } = listed;
  return (
    (componentType === 'f16' || componentType === 'f32') &&
    resultComponentType === 'f32' &&
    [M, N, K].every((size) => size > 0 && size % 8 === 0)
  );
}

/** Numbers by which the best configuration is the first. */
function rankOf(configuration: MatrixConfiguration): readonly number[] {
  const { componentType, M, N, K } = configuration;
  const known = PREFERRED.indexOf(sizesOf(configuration));
  return [componentType === 'f16' ? 0 : 1, known < 0 ? PREFERRED.length : known, -M * N * K, -M, -N];
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((rank, i) => rank !== b[i]);
  return at < 0 ? 0 : a[at]! - b[at]!;
}

function sizesOf({ M, N, K }: Pick<AdapterMatrix, 'M' | 'N' | 'K'>): string {
  return `${M}×${N}×${K}`;
}
