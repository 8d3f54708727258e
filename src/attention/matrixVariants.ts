import { matrixTest } from '../plan/knownAttention.js';
import type { Variant } from '../runtime/pipelines.js';
import { variantName } from '../wgsl/link.js';

/**
 * Variants for a runtime of which it is not decided, or may change, whether it uses subgroup matrices: those needed in
 * either case, those needed without, and those needed with.
 */
export function eitherWay(without: readonly Variant[], using: readonly Variant[]): Variant[] {
  const test = matrixTest;
  const [plain, matrices] = [byName(without), byName(using)];
  return [
    ...Array.from(plain, ([name, variant]) =>
      matrices.has(name) ? variant : { ...variant, when: { matrices: false, test } },
    ),
    ...Array.from(matrices)
      .filter(([name]) => !plain.has(name))
      .map(([, variant]) => ({ ...variant, when: { matrices: true, test } })),
  ];
}

/** Each variant once. */
export function byName(variants: readonly Variant[]): Map<string, Variant> {
  return new Map(variants.map((variant) => [variantName(variant.kernel, variant.spec), variant]));
}
