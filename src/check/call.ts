import { checkNames } from '../core/checkArguments.js';
import { describe, fail, PageflashError, type ErrorCode } from '../core/errors.js';
import type { DeviceTraits } from '../core/deviceTraits.js';
import type { Pace } from '../core/pace.js';
import { StepMemory } from '../core/stepMemory.js';

/** What checks ask of a runtime. */
export interface CallRuntime {
  readonly traits: DeviceTraits;
  readonly pace: Pace;
  /** By kind and name, the label of each mod that kernels have been made with. */
  readonly modLabels: ReadonlyMap<string, string>;
  /** Throws in the name of a call once the runtime cannot be used any more. */
  assertAlive(caller: string): void;
}

/** A call of a public function while its arguments are checked: it refuses them in the function's name. */
export class Call {
  /** The public function. */
  readonly name: string;
  readonly pace: Pace;
  readonly #runtime: Pick<CallRuntime, 'traits'> & Partial<CallRuntime>;
  /** What an earlier step of a plan has left; nothing for a single call. */
  readonly memory: StepMemory;

  constructor(
    name: string,
    runtime: Pick<CallRuntime, 'traits' | 'pace'> & Partial<CallRuntime>,
    memory = new StepMemory(),
  ) {
    this.name = name;
    this.#runtime = runtime;
    this.pace = runtime.pace;
    this.memory = memory;
  }

  /** Those of now: a plan asks in each step. */
  get traits(): DeviceTraits {
    return this.#runtime.traits;
  }

  /** See `CallRuntime`. */
  get modLabels(): ReadonlyMap<string, string> {
    return this.#runtime.modLabels ?? NO_LABELS;
  }

  /**
   * A call on a runtime.
   *
   * @throws PageflashError `argument` for what is no runtime; `device` if it cannot be used any more
   */
  static on(runtime: CallRuntime, name: string, memory?: StepMemory): Call {
    if (typeof runtime?.assertAlive !== 'function')
      fail('argument', name, `runtime must be what createRuntime gives, not ${describe(runtime)}.`);
    runtime.assertAlive(name);
    return new Call(name, runtime, memory);
  }

  /** Throws a sentence about what is wrong, and what to do about it. */
  refuse(code: ErrorCode, sentence: string): never {
    fail(code, this.name, sentence);
  }

  /** Throws because a value is not what it must be. */
  refuseValue(name: string, wanted: string, value: unknown, code: ErrorCode = 'argument'): never {
    this.refuse(code, `${name} must be ${wanted}, not ${describe(value)}.`);
  }

  /** Runs what another public function does. Its errors come in the name of this call. */
  inPlaceOf<T>(other: string, run: () => T): T {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof PageflashError) || !error.message.startsWith(`${other}: `)) throw error;
      throw new PageflashError(error.code, error.message.replace(other, this.name));
    }
  }

  /** Checks each entry of a list. The sentence about the first wrong one is made from its index. */
  each<T>(
    code: ErrorCode,
    list: ArrayLike<T>,
    isRight: (entry: T, index: number) => boolean,
    sentenceOf: (index: number) => string,
  ): void {
    for (let i = 0; i < list.length; i++) if (!isRight(list[i]!, i)) this.refuse(code, sentenceOf(i));
  }

  /** A whole number from 0 to 2³¹ − 1, or the default. */
  count(name: string, value: number | undefined, byDefault: number): number {
    if (value === undefined) return byDefault;
    if (!isCount(value) || value > MAX_INT) this.refuseValue(name, 'a whole number ≥ 0', value);
    return value;
  }

  /** Checks an option that is true, false or left out. */
  flag(name: string, value: boolean | undefined): void {
    if (value !== undefined && typeof value !== 'boolean') this.refuseValue(name, 'true or false', value);
  }
}

const NO_LABELS: ReadonlyMap<string, string> = new Map();

/** Arguments by name, and fields that are accepted beside them without being used. */
export interface ArgNames<Args extends object> {
  readonly used: readonly (keyof Args & string)[];
  readonly unused: readonly string[];
}

/**
 * The arguments in an object of any kind, with prototypes and getters or without: each is read by name, once.
 *
 * @throws PageflashError `argument` for a name that is neither an argument nor accepted beside them
 */
export function readArgs<Args extends object, Given extends Partial<Args>>(
  call: Call,
  given: Given,
  { used, unused }: ArgNames<Args>,
): Given {
  checkNames(call.name, given, used, { alsoTaken: unused });
  const args: Partial<Args> = {};
  for (const name of used) if (name in given) args[name] = (given as Partial<Args>)[name];
  return args as Given;
}

/** Checks that a pass, if there is one, can be recorded into. */
export function checkPass(call: Call, pass: GPUComputePassEncoder | undefined): void {
  if (pass !== undefined && typeof pass?.dispatchWorkgroups !== 'function')
    call.refuseValue('pass', 'a GPUComputePassEncoder', pass);
}

/** The largest i32. */
export const MAX_INT = 2 ** 31 - 1;

/** Whether a value is a whole number ≥ 0. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Whether a value is an array of counts, of so many if that is said. A long array of another length is not read. */
export function isCounts(value: unknown, length?: number): value is readonly number[] {
  if (!Array.isArray(value) || (length !== undefined && value.length !== length)) return false;
  // Unlike `every`, it looks at holes.
  return value.findIndex((count) => !isCount(count)) < 0;
}

/** Whether a value is a plain or a typed array. */
export function isHostArray(value: unknown): value is ArrayLike<number> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value);
}
