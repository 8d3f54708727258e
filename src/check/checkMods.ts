import { checkNames, namesOf } from '../core/checkArguments.js';
import { describe, shortened } from '../core/errors.js';
import { contiguousStrides, isTensor, sameNumbers, WINDOW_ALIGNMENT, type Tensor } from '../core/tensor.js';
import type { AttentionOptions, Mod } from '../problem/attentionArgs.js';
import { MAX_MOD_TENSORS, type AttentionMod, type Mods } from '../problem/attentionProblem.js';
import type { ModKind } from '../wgsl/kernel.js';
import { MOD_PARAMS, parseMod, type ModElement, type ModSource, type ParsedMod } from '../wgsl/mods.js';
import { isHostArray, type Call } from './call.js';
import { isFinite32 } from './checkNumbers.js';
import { checkForm, checkTensor } from './checkTensor.js';

/** A mod of which kernels are to be prepared: of tensors, their types are enough. */
export interface PreparedMod extends Omit<Mod, 'tensors' | 'params'> {
  /** Kernels do not depend on them. */
  readonly params?: Mod['params'];
  readonly tensors?: Readonly<Record<string, Tensor | ModElement>> | undefined;
}

const NAMES = namesOf<Mod>({ name: true, code: true, params: true, tensors: true });
const KINDS = ['scoreMod', 'maskMod'] as const;

/** Checks the mods of a call as far as the host can; null if there are none. */
export function checkMods(call: Call, given: Pick<AttentionOptions, 'scoreMod' | 'maskMod'>): Mods | null {
  if (given.scoreMod === undefined && given.maskMod === undefined) return null;
  const { memory } = call;
  const [scoreMod, maskMod] = KINDS.map((kind) => checkedMod(call, kind, given[kind])) as [
    AttentionMod | null,
    AttentionMod | null,
  ];
  checkCount(call, [scoreMod?.tensors, maskMod?.tensors]);
  // Of other parameters the same object, since dispatches do not depend on them.
  const params = memory.floats('mod params', 2 * MOD_PARAMS);
  params.fill(0);
  KINDS.forEach((kind, i) => params.set(given[kind]?.params ?? [], i * MOD_PARAMS));
  return memory.keep('mods', [scoreMod, maskMod, params], () => ({ scoreMod, maskMod, params }));
}

function checkedMod(call: Call, kind: ModKind, mod: Mod | undefined): AttentionMod | null {
  if (mod === undefined) return null;
  const text = checkText(call, kind, mod);
  checkParams(call, kind, mod.params);
  const tensors = mod.tensors ?? {};
  const entries = Object.entries(tensors);
  for (const [name, tensor] of entries) checkArray(call, `${kind}.tensors.${name}`, tensor);
  return call.memory.keep(kind, [text, ...entries.map(([, tensor]) => tensor)], () => ({ text, tensors }));
}

/** Checks mods of which kernels are to be prepared. */
export function checkPreparedMods(
  call: Call,
  given: Readonly<Partial<Record<ModKind, PreparedMod | undefined>>>,
): Pick<Mods, 'scoreMod' | 'maskMod'> | null {
  if (given.scoreMod === undefined && given.maskMod === undefined) return null;
  const [scoreMod, maskMod] = KINDS.map((kind) => {
    const mod = given[kind];
    if (mod === undefined) return null;
    const text = checkText(call, kind, mod);
    checkParams(call, kind, mod.params);
    for (const [name, tensor] of Object.entries(mod.tensors ?? {}))
      if (isTensor(tensor)) checkArray(call, `${kind}.tensors.${name}`, tensor);
    return text;
  }) as [ParsedMod | null, ParsedMod | null];
  checkCount(call, [scoreMod?.tensors, maskMod?.tensors]);
  const withStandIns = (text: ParsedMod | null): AttentionMod | null => {
    if (!text) return null;
    const tensors = Object.entries(text.tensors).map(([name, dtype]) => [name, standIn(dtype)]);
    return { text, tensors: Object.fromEntries(tensors) };
  };
  return { scoreMod: withStandIns(scoreMod), maskMod: withStandIns(maskMod) };
}

/** A placeholder for a tensor: planning does not look at its buffer. */
function standIn(dtype: ModElement): Tensor {
  return { buffer: {} as GPUBuffer, dtype, shape: [1] };
}

/** Checks all that decides the text, and that a name stands for one of them. */
function checkText(call: Call, kind: ModKind, mod: PreparedMod): ParsedMod {
  checkNames(call.name, mod, NAMES, { of: kind });
  const { name, code, tensors = {} } = mod;
  if (typeof name !== 'string' || name.trim() === '' || name.length > MAX_NAME || /[\n\r]/.test(name))
    call.refuseValue(`${kind}.name`, `one line of up to ${MAX_NAME} letters`, name);
  if (typeof code !== 'string') call.refuseValue(`${kind}.code`, 'WGSL as a string', code);
  checkNames(call.name, tensors, undefined, { of: `${kind}.tensors` });
  const elements: Record<string, ModElement> = {};
  for (const [array, value] of Object.entries(tensors)) {
    const of = `${kind}.tensors.${shortened(array)}`;
    if (!IDENTIFIER.test(array))
      call.refuse(
        'argument',
        `${of} must have a name as variables of WGSL have, with which the code reads it.`,
      );
    elements[array] = elementOf(call, of, value);
  }
  const text = parsed(call, { kind, name, code, tensors: elements });
  const known = call.modLabels.get(`${kind} ${name}`);
  if (known !== undefined && known !== text.label) {
    call.refuse(
      'argument',
      `${kind} "${name}" has another code than before, or tensors of other types. Give it a name of its own: kernels are kept by it.`,
    );
  }
  return text;
}

const MAX_NAME = 100;
const IDENTIFIER = /^(?!__)(?!_$)[A-Za-z_]\w*$/;
const ELEMENTS = ['f32', 'i32', 'u32'] as const;

function elementOf(call: Call, name: string, value: unknown): ModElement {
  const dtype: unknown = isTensor(value) ? value.dtype : value;
  const element = ELEMENTS.find((one) => one === dtype);
  if (element) return element;
  if (dtype === 'f16' || dtype === 'bf16') {
    call.refuse(
      'dtype',
      `${name} is ${dtype}, but mods read f32, i32 and u32. Pass pairs of halves as u32, and read them by unpack2x16float or shifts.`,
    );
  }
  if (isTensor(value)) checkForm(call, name, value, { dtypes: ELEMENTS });
  return call.refuseValue(name, 'a tensor of f32, i32 or u32', value);
}

/** What was read of codes: every call asks for it. */
const known = new Map<string, ParsedMod>();
const MOST_KNOWN = 256;

function parsed(call: Call, source: ModSource): ParsedMod {
  const { kind, name, code, tensors } = source;
  const key = JSON.stringify([kind, name, code, tensors]);
  let text = known.get(key);
  if (text) return text;
  try {
    text = parseMod(source);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    call.refuse('argument', `the code of ${kind} "${name}" cannot be used: ${error.message}.`);
  }
  if (known.size >= MOST_KNOWN) known.clear();
  known.set(key, text);
  return text;
}

function checkParams(call: Call, kind: ModKind, params: Mod['params']): void {
  if (params === undefined) return;
  if (!isHostArray(params) || params.length > MOD_PARAMS)
    call.refuseValue(`${kind}.params`, `up to ${MOD_PARAMS} numbers`, params);
  call.each(
    'argument',
    params,
    isFinite32,
    (i) => `${kind}.params[${i}] must be a finite number, not ${describe(params[i])}.`,
  );
}

function checkArray(call: Call, name: string, tensor: Tensor): void {
  checkTensor(call, name, tensor, { dtypes: ELEMENTS });
  const { shape, strides, offset = 0 } = tensor;
  if (strides && !sameNumbers(strides, contiguousStrides(shape)))
    call.refuse('shape', `${name} must be contiguous, since the code reads it as one array.`);
  const unit = WINDOW_ALIGNMENT / 4;
  if (offset % unit !== 0) {
    call.refuse(
      'shape',
      `the offset of ${name} must be a multiple of ${unit}, not ${offset}: the code reads it from its first element on, and bindings begin at multiples of ${WINDOW_ALIGNMENT} bytes.`,
    );
  }
}

function checkCount(call: Call, tensors: readonly (object | undefined)[]): void {
  const n = tensors.reduce((sum, of) => sum + Object.keys(of ?? {}).length, 0);
  if (n > MAX_MOD_TENSORS)
    call.refuse(
      'argument',
      `mods read up to ${MAX_MOD_TENSORS} tensors in all, not ${n}. Join some of them into one.`,
    );
}

const NO_TENSORS: Readonly<Record<string, Tensor>> = {};

/** The tensors of a call's mods, by what errors call them. */
export function modTensors(
  given: Pick<AttentionOptions, 'scoreMod' | 'maskMod'>,
): Readonly<Record<string, Tensor>> {
  if (given.scoreMod === undefined && given.maskMod === undefined) return NO_TENSORS;
  return Object.fromEntries(
    KINDS.flatMap((kind) =>
      Object.entries(given[kind]?.tensors ?? {}).map(([name, tensor]) => [`${kind}.tensors.${name}`, tensor]),
    ),
  );
}
