import { composeResolvers, createConstantsResolver, linkRegistry, RecordResolver } from 'wesl/core';
import type { Kernel, Spec } from '../core/dispatch.js';
import { unroll } from './unroll.js';

/** The WGSL of one variant of a kernel: loops unrolled, imports resolved, conditions and constants filled in. */
export function link({ name, modules }: Pick<Kernel, 'name' | 'modules'>, spec: Spec): string {
  const root = `./${name}.wgsl`;
  const entries = Object.entries(spec);
  const numbers = entries.filter((entry): entry is [string, number] => typeof entry[1] === 'number');
  const conditions = Object.fromEntries(
    entries.filter((entry): entry is [string, boolean] => typeof entry[1] === 'boolean'),
  );
  const sources = { ...modules, [root]: unroll(modules[root] ?? '', Object.fromEntries(numbers)) };
  const constants = Object.fromEntries(numbers.map(([constant, value]) => [constant, `${value}u`]));
  const linked = linkRegistry({
    resolver: composeResolvers(new RecordResolver(sources), createConstantsResolver(constants, 'package')),
    rootModuleName: root,
    conditions,
    sourceMap: false,
  });
  return linked.dest.text;
}

/** A name for a variant, such as `attn_prefill{PAGED Q_F16 ROWS=4}`. */
export function variantName({ name }: Pick<Kernel, 'name'>, spec: Spec): string {
  const parts = Object.entries(spec)
    .filter(([, value]) => value !== false)
    .map(([part, value]) => (value === true ? part : `${part}=${value}`));
  return `${name}{${parts.toSorted().join(' ')}}`;
}
