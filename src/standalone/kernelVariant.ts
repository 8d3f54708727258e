/**
 * Kernels as text and data, for engines in any language.
 *
 * @module pageflash/wgsl
 */

import { checkChoice, checkNames } from '../core/checkArguments.js';
import type { FieldLayout, Kernel, KernelBinding, WgslNotes } from '../wgsl/kernel.js';
import { fail } from '../core/errors.js';
import { link, variantName } from '../wgsl/link.js';
import { declarationOf } from '../wgsl/module.js';
import { structOf } from '../wgsl/reflection.js';
import type { Choice, Stored, Tile } from './choice.js';
import { CHOICES } from './choices.js';
import { traitsOf } from './device.js';
import { KERNEL_NAMES, OPTION_NAMES, type KernelName, type KernelVariantOptions } from './options.js';
import { gridRule, type GridRule } from './gridRule.js';
import { BATCH_INFO, SOURCES } from './sources.js';

export { PageflashError, type ErrorCode } from '../core/errors.js';
export type {
  AppendKvOptions,
  AppendQuantisedOptions,
  AttnDecodeOptions,
  AttnWeightsOptions,
  AttnPrefillOptions,
  CopyPagesOptions,
  GatherHeadsOptions,
  GatherLengthsOptions,
  KernelName,
  KernelVariantOptions,
  MergeStatesOptions,
  TurnHeadsOptions,
} from './options.js';
export type { StandaloneDevice } from './device.js';
export { dispatchSize, type GridFactor, type GridRule } from './gridRule.js';

/** A kernel as plain WGSL, with all that an engine needs to run it. It has no functions, so it survives JSON. */
export interface KernelVariant {
  /** A name that no other variant has, such as `attn_decode{PAGED ROWS=4 …}`. */
  readonly name: string;
  readonly kernel: KernelName;
  /** What the kernel does, with shapes and maths: the comment at the head of its source. */
  readonly about: string;
  /** Complete WGSL. */
  readonly code: string;
  readonly entryPoint: string;
  /** Features that the device must have been made with. */
  readonly requires: readonly ('shader-f16' | 'subgroups')[];
  /** Invocations of a workgroup, all in x. */
  readonly workgroupSize: number;
  /** Bytes of workgroup memory. */
  readonly workgroupBytes: number;
  /** Query rows of a kv head, and keys, that a workgroup takes at a time; null for kernels without tiles. */
  readonly tile: Tile | null;
  /** The bindings that the text declares, all in group 0. Bind any buffer to one that a call does not use. */
  readonly bindings: readonly VariantBinding[];
  /** The struct in the uniform buffer `params`. */
  readonly params: VariantStruct;
  /** The structs in storage buffers, by name. */
  readonly records: Readonly<Record<string, VariantStruct>>;
  /** The integer constants of the text, such as those that pack two numbers into a field. */
  readonly constants: Readonly<Record<string, number>>;
  readonly grid: GridRule;
}

export interface VariantBinding extends KernelBinding {
  /** As the text declares it, such as `array<vec4u>`. */
  readonly type: string;
  /** The element type of a tensor of real numbers. Two 16-bit elements share a word, the first in its lower half. */
  readonly dtype?: Stored['dtype'];
  /**
   * Bytes. Every row begins at a multiple of them, so every stride and offset must be one; with pages, those of pages
   * too.
   */
  readonly alignment?: number;
  /** The struct of its elements, or the one that it begins with. */
  readonly record?: string;
  /** Shape and meaning. */
  readonly note?: string;
}

export interface VariantStruct {
  readonly bytes: number;
  /** In order. */
  readonly fields: Readonly<Record<string, VariantField>>;
}

export interface VariantField extends FieldLayout {
  readonly note?: string;
}

const CALLER = 'kernelVariant';

/**
 * Returns the WGSL of one variant of a kernel, as pageflash itself would run it on such a device, with its layout as
 * data: for engines that are not written in JavaScript, or that have a runtime of their own. It needs no GPU.
 *
 * @throws PageflashError `argument` or `shape` for an option that is wrong or that the kernel does not have; `limit` if
 * no variant fits the device
 * @example
 * const variant = kernelVariant({ kernel: 'attn_decode', headDim: 128, dtype: 'f16', paged: true });
 * const { code, bindings, params, grid } = variant;
 */
export function kernelVariant(options: KernelVariantOptions): KernelVariant {
  checkNames(CALLER, options, undefined);
  const name = options.kernel;
  if ((name as string) === 'attn_matrix')
    fail(
      'argument',
      CALLER,
      'attn_matrix is not given as text: the shape of subgroup matrices is that of one adapter, the extension is an experiment, and drivers are only used once they have passed a self-test. Ask for attn_prefill or attn_decode.',
    );
  checkChoice(CALLER, 'kernel', name, KERNEL_NAMES);
  for (const mod of ['scoreMod', 'maskMod'])
    if (mod in options)
      fail(
        'argument',
        CALLER,
        `${mod} is compiled into the kernels of pageflash itself. Kernels given as text have a place for a function of your own where they compute scores: change their code.`,
      );
  checkNames(CALLER, options, OPTION_NAMES[name], { hint: `They are those of ${name}.` });
  const traits = traitsOf(CALLER, options.device ?? {});
  const { kernel, notes, factors, jobInvocations } = SOURCES[name];
  const choose = CHOICES[name] as (...args: [string, KernelVariantOptions, typeof traits]) => Choice;
  const { spec, tile, workgroupBytes, stored, jobsPerWorkgroup } = choose(CALLER, options, traits);
  const code = link(kernel, spec);
  const constants = Object.fromEntries(
    Array.from(code.matchAll(/^const (\w+) = (\d+)u;$/gm), ([, constant, value]) => [
      constant!,
      Number(value),
    ]),
  );
  const workgroupSize = constants['WG_SIZE']!;
  if (workgroupSize > traits.maxWorkgroupInvocations)
    fail(
      'limit',
      CALLER,
      `${name} needs workgroups of ${workgroupSize}; this device allows ${traits.maxWorkgroupInvocations} invocations.`,
    );
  const bindings = bindingsOf(code, { kernel, notes, stored });
  const nBuffers = bindings.filter(({ access }) => access !== 'uniform').length;
  if (nBuffers > traits.maxStorageBuffers)
    fail(
      'limit',
      CALLER,
      `${name} needs ${nBuffers} storage buffers; this device binds at most ${traits.maxStorageBuffers}. If yours binds more, pass its maxStorageBuffers.`,
    );
  return {
    name: variantName(kernel, spec),
    kernel: name,
    about: notes.header,
    code,
    entryPoint: kernel.name,
    requires: EXTENSIONS.filter(([extension]) => code.includes(`enable ${extension};`)).map(
      ([, feature]) => feature,
    ),
    workgroupSize,
    workgroupBytes,
    tile,
    bindings,
    params: noted('Params', kernel.params, notes),
    records: recordsOf(bindings, code, { kernel, notes }),
    constants,
    grid: gridRule({
      factors,
      jobsPerWorkgroup:
        jobsPerWorkgroup ?? (jobInvocations === 'workgroup' ? 1 : workgroupSize / jobInvocations),
      maxPerDimension: traits.maxWorkgroupsPerDimension,
    }),
  };
}

const EXTENSIONS = [
  ['f16', 'shader-f16'],
  ['subgroups', 'subgroups'],
] as const;

interface Described {
  readonly kernel: Kernel;
  readonly notes: WgslNotes;
  readonly stored: Choice['stored'];
}

/** Returns the bindings of a kernel that the text of a variant declares. */
function bindingsOf(code: string, { kernel, notes, stored }: Described): VariantBinding[] {
  return kernel.bindings.flatMap((binding) => {
    const { name } = binding;
    const type = new RegExp(`@binding\\(${binding.binding}\\) var<[^>]+> ${name}: ([^;]+);`).exec(code)?.[1];
    if (type === undefined) return [];
    const record = notes.contents[name];
    const note = notes.bindings[name];
    return [{ ...binding, type, ...stored[name], ...(record && { record }), ...(note && { note }) }];
  });
}

/** A function that reads a struct out of an array of words, as the build writes it. */
const RECORD_FUNCTION = /^fn \w+\(index: u32\) -> (\w+) \{\n  let first = index \* \d+u;/gm;

/** The structs that bindings consist of or begin with, and those that the text reads out of arrays of words. */
function recordsOf(
  bindings: readonly VariantBinding[],
  code: string,
  { kernel, notes }: Pick<Described, 'kernel' | 'notes'>,
): Record<string, VariantStruct> {
  const read = Array.from(code.matchAll(RECORD_FUNCTION), ([, struct]) => struct!);
  const names = new Set([...bindings.flatMap(({ record }) => record ?? []), ...read]);
  return Object.fromEntries(
    Array.from(names, (name) => {
      const isOwn = declarationOf(kernel.modules, name) !== '';
      const source = isOwn ? { modules: kernel.modules, notes } : BATCH_INFO;
      return [name, noted(name, structOf(source, name), source.notes)];
    }),
  );
}

/** Adds the notes on its fields to a struct. */
function noted(name: string, { bytes, fields }: VariantStruct, notes: WgslNotes): VariantStruct {
  const withNotes = Object.entries(fields).map(([field, layout]) => {
    const note = notes.fields[name]?.[field];
    return [field, note ? { ...layout, note } : layout] as const;
  });
  return { bytes, fields: Object.fromEntries(withNotes) };
}
