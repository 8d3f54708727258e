import {
  accessFunction,
  KINDS,
  setUp,
  slotFunctions,
  slotSize,
  type EmulatedMatrices,
  type Kind,
  type Major,
} from './emulatedFunctions.js';
import { argumentsFrom, closingOf, constantOf, statementsOf, typeBehind } from './wgslText.js';

/** The extension, as WGSL enables it. */
export const MATRIX_EXTENSION = 'chromium_experimental_subgroup_matrix';

/** Subgroup functions that a kernel may use besides matrices: exchanges between neighbours, which real subgroups do. */
const NEIGHBOURS: ReadonlySet<string> = new Set([
  'subgroupShuffleXor',
  'quadSwapX',
  'quadSwapY',
  'quadSwapDiagonal',
]);

/**
 * Returns a kernel that computes the same without the extension, on subgroups of the size given. `wgsl` is one entry point
 * with what it reaches. What is rewritten:
 *
 * | in the kernel | becomes |
 * | --- | --- |
 * | variables that are matrices, or parameters of functions | the places of their elements in private arrays |
 * | `subgroupMatrixLoad`, `-Store`, `-MultiplyAccumulate`, constructors | functions, of loads and stores one for each kind, order and array |
 * | the builtins `subgroup_size`, `subgroup_invocation_id`, `subgroup_id` of the entry point | those of the emulated subgroup |
 * | the body of a function `invocation_by_subgroup` | the number of the invocation in its workgroup |
 *
 * Subgroups are consecutive invocations, as `local_invocation_index` counts them. `subgroupShuffleXor` and quads stay what
 * the device does, so they must not leave the device's own subgroup; other functions of subgroups are refused.
 *
 * A block that ends beyond its array is NaN when it is loaded, and not stored at all: devices differ there. Of Dawn's
 * backends, some skip such a block, some leave it to the hardware.
 *
 * @throws Error for what is none of this, and for matrices of other shapes or types
 */
export function emulateMatrices(wgsl: string, matrices: EmulatedMatrices): string {
  return new Emulation(wgsl.replace(/\/\*[^]*?\*\/|\/\/.*/g, ''), matrices).rewrite();
}

/** The elements that are in use of the private arrays of operands and of results. */
interface Used {
  readonly operands: number;
  readonly results: number;
}

/** Variables of a block: kinds of those that are matrices, null for others. */
interface Block {
  readonly variables: Map<string, Kind | null>;
  /** What was in use before the block. */
  readonly before: Used;
}

class Emulation {
  readonly #matrices: EmulatedMatrices;
  /** The kind of matrix that a name of a type stands for. */
  readonly #kinds = new Map<string, Kind>();
  /** Loads and stores by their names. */
  readonly #accesses = new Map<string, string>();
  /** Blocks around the statement, the innermost last. */
  #blocks: Block[] = [];
  #used: Used = { operands: 0, results: 0 };
  #most: Used = { operands: 0, results: 0 };
  #code: string;

  constructor(code: string, matrices: EmulatedMatrices) {
    this.#code = code;
    this.#matrices = matrices;
  }

  rewrite(): string {
    const extensions = this.#takeExtensions();
    this.#nameTypes();
    this.#nameLoads();
    this.#code = statementsOf(this.#code)
      .map(({ text, end }) => this.#statement(text, end) + end)
      .join('');
    const rest = /\bsubgroup_?[mM]atrix\w*/.exec(this.#code);
    if (rest) throw new Error(`Matrices cannot be emulated where a kernel has ${rest[0]}.`);
    this.#rewriteNumbering();
    this.#rewriteEntryPoint();
    if (this.#usesSubgroups()) extensions.add('subgroups');
    return [
      ...[...extensions].map((extension) => `enable ${extension};`),
      this.#code.trim(),
      slotFunctions(this.#matrices, this.#most),
      ...this.#accesses.values(),
      '',
    ].join('\n');
  }

  /** Removes the directives about extensions and returns those that are still needed. */
  #takeExtensions(): Set<string> {
    const extensions = new Set<string>();
    this.#code = this.#code
      .replace(/\benable\s+([^;]+);/g, (_, names: string) => {
        for (const name of names.split(',')) extensions.add(name.trim());
        return '';
      })
      .replace(/\bdiagnostic\s*\(\s*\w+\s*,\s*chromium\.subgroup_matrix_uniformity\s*\)\s*;/g, '');
    if (!extensions.delete(MATRIX_EXTENSION))
      throw new Error(`The kernel does not enable ${MATRIX_EXTENSION}.`);
    // Whether real subgroups are used is seen at the end.
    extensions.delete('subgroups');
    return extensions;
  }

  /** Gives each type of matrices a name, and finds its aliases. */
  #nameTypes(): void {
    const { M, N, K, componentType } = this.#matrices;
    const wanted = { left: [componentType, K, M], right: [componentType, N, K], result: ['f32', N, M] };
    const code = this.#code;
    this.#code = code.replace(
      /\bsubgroup_matrix_(left|right|result)\s*<\s*(\w+)\s*,\s*(\w+)\s*,\s*(\w+)\s*,?\s*>/g,
      (type, kind: Kind, component: string, columns: string, rows: string) => {
        const found = [typeBehind(code, component), constantOf(code, columns), constantOf(code, rows)];
        if (found.join() !== wanted[kind].join())
          throw new Error(`${type} is <${found.join(', ')}>, not <${wanted[kind].join(', ')}>.`);
        return `emulated_${kind}`;
      },
    );
    for (const kind of KINDS) this.#kinds.set(`emulated_${kind}`, kind);
    for (const [, alias] of this.#code.matchAll(/\balias\s+(\w+)\s*=/g)) {
      const kind = this.#kinds.get(typeBehind(this.#code, alias!));
      if (kind) this.#kinds.set(alias!, kind);
    }
  }

  /** Names the function of each load, which so far takes the place and no slot. */
  #nameLoads(): void {
    this.#code = this.#code.replace(
      /\bsubgroupMatrixLoad\s*<\s*(\w+)\s*,\s*(row|col)_major\s*>\s*\(\s*&\s*(\w+)\s*,\s*/g,
      (call, type: string, major: Major, array: string) => {
        const kind = this.#kinds.get(type);
        if (!kind) throw new Error(`${call} loads what is no matrix.`);
        return `${this.#access('load', kind, major, array)}(`;
      },
    );
  }

  /** Rewrites what stands before the `;`, `{` or `}` that ends it. */
  #statement(text: string, end: string): string {
    const before = this.#used;
    let written = text;
    if (end === '{') {
      this.#blocks.push({ variables: this.#parametersOf(text), before: this.#used });
    } else if (end === '}') {
      const block = this.#blocks.pop();
      // Matrices of other functions may be in use when this one is called.
      this.#used = this.#blocks.length > 0 ? block!.before : this.#most;
    } else if (this.#blocks.length > 0) {
      const declared = /^(\s*)(?:let|var|const)\s+(\w+)\s*(?::\s*(\w+)\s*)?(?:=([^]*))?$/.exec(text);
      if (declared) return this.#declaration(text, declared);
      written = this.#action(text);
      // Slots of what has no name.
      this.#used = before;
    }
    return written;
  }

  #parametersOf(header: string): Block['variables'] {
    const [start, returned] = /^\s*(?:@[^]*)?\bfn\s+\w+\s*\([^]*?(?:->\s*(\w+)\s*)?$/.exec(header) ?? [];
    if (returned && this.#kinds.has(returned)) throw new Error(`A function returns ${returned}.`);
    const parameters = start ? [...start.matchAll(/(\w+)\s*:\s*(\w+)/g)] : [];
    return new Map(parameters.map(([, name, type]) => [name!, this.#kinds.get(type!) ?? null]));
  }

  #declaration(text: string, [, indent, name, type, initial]: readonly (string | undefined)[]): string {
    const kind = initial === undefined ? this.#kinds.get(type ?? '') : this.#kindOf(initial);
    let written = text;
    if (kind) {
      if (initial === undefined) throw new Error(`${name} has no initial value.`);
      const slot = this.#take(kind);
      const own = this.#used;
      written = `${indent}let ${name} = ${this.#into(`${slot}u`, initial)}`;
      this.#used = own;
    }
    this.#blocks.at(-1)!.variables.set(name!, kind ?? null);
    return written;
  }

  /** An assignment to a matrix, or a store. */
  #action(text: string): string {
    const [, indent, name, value] = /^(\s*)(\w+)\s*=([^=][^]*)$/.exec(text) ?? [];
    if (name && this.#variable(name)) return `${indent}${this.#into(name, value!)}`;
    const [call, before, major, array] =
      /^(\s*)subgroupMatrixStore\s*<\s*(row|col)_major\s*>\s*\(\s*&\s*(\w+)\s*,/.exec(text) ?? [];
    if (!call) return text;
    const [offset, matrix, stride] = argumentsFrom(text, call.length);
    const store = this.#access('store', this.#matrixKind(matrix!), major as Major, array!);
    return `${before}${store}(${offset!.trim()}, ${this.#slotOf(matrix!)}, ${stride!.trim()})`;
  }

  /** The slot of a matrix, where a variable has it or where it is put. */
  #slotOf(expression: string): string {
    const kind = this.#matrixKind(expression);
    return this.#variable(expression.trim())
      ? expression.trim()
      : this.#into(`${this.#take(kind)}u`, expression);
  }

  /** A call that puts the value of an expression into a slot, and returns that. */
  #into(slot: string, expression: string): string {
    const kind = this.#matrixKind(expression);
    const text = expression.trim();
    if (this.#variable(text)) return `emulated_copy_${kind}(${slot}, ${text})`;
    const [multiply] = /^subgroupMatrixMultiplyAccumulate\s*\(/.exec(text) ?? [];
    if (multiply) {
      const slots = argumentsFrom(text, multiply.length).map((argument) => this.#slotOf(argument));
      return `emulated_multiply_accumulate(${[slot, ...slots].join(', ')})`;
    }
    if (LOAD.test(text)) return text.replace('(', `(${slot}, `);
    return `emulated_zeros_${kind}(${slot})`;
  }

  #matrixKind(expression: string): Kind {
    const kind = this.#kindOf(expression);
    if (!kind) throw new Error(`${expression.trim()} is not seen to be a matrix.`);
    return kind;
  }

  /** The kind of matrix that an expression is. */
  #kindOf(expression: string): Kind | undefined {
    const text = expression.trim();
    const [, constructed] = /^(\w+)\s*\(\s*\)$/.exec(text) ?? [];
    if (constructed) return this.#kinds.get(constructed);
    const [, loaded] = LOAD.exec(text) ?? [];
    if (loaded) return loaded as Kind;
    return /^subgroupMatrixMultiplyAccumulate\b/.test(text) ? 'result' : this.#variable(text);
  }

  #variable(name: string): Kind | undefined {
    return this.#blocks.findLast(({ variables }) => variables.has(name))?.variables.get(name) ?? undefined;
  }

  /** Takes a slot until the end of its block. */
  #take(kind: Kind): number {
    const array = kind === 'result' ? 'results' : 'operands';
    const slot = this.#used[array];
    this.#used = { ...this.#used, [array]: slot + slotSize(kind, this.#matrices) };
    this.#most = {
      operands: Math.max(this.#most.operands, this.#used.operands),
      results: Math.max(this.#most.results, this.#used.results),
    };
    return slot;
  }

  /** The name of a function that loads or stores, which is written if it is new. */
  #access(verb: 'load' | 'store', kind: Kind, major: Major, array: string): string {
    const name = `emulated_${verb}_${kind}_${major}_${array}`;
    if (!this.#accesses.has(name)) {
      const length = this.#lengthOf(array, kind === 'result' ? 'f32' : this.#matrices.componentType);
      this.#accesses.set(name, accessFunction({ name, verb, kind, major, array, length }, this.#matrices));
    }
    return name;
  }

  /** WGSL of the number of elements of an array, which must be of a type. */
  #lengthOf(name: string, wanted: string): string {
    const [, element, size] =
      new RegExp(`\\bvar\\s*<[^>]*>\\s*${name}\\s*:\\s*array\\s*<\\s*(\\w+)\\s*(?:,([^>]+))?>`).exec(
        this.#code,
      ) ?? [];
    if (!element) throw new Error(`${name} is no array in workgroup memory or storage.`);
    const type = typeBehind(this.#code, element);
    if (type !== wanted) throw new Error(`${name} is an array of ${type}, not of ${wanted}.`);
    return size ? `u32(${size.trim()})` : `arrayLength(&${name})`;
  }

  #rewriteNumbering(): void {
    const found = /\bfn\s+invocation_by_subgroup\b[^{]*\{/.exec(this.#code);
    if (!found) return;
    const start = found.index + found[0].length;
    const end = closingOf(this.#code, start);
    this.#code = `${this.#code.slice(0, start)} return emulated_invocation; ${this.#code.slice(end)}`;
  }

  #rewriteEntryPoint(): void {
    const { subgroupSize } = this.#matrices;
    const found = [...this.#code.matchAll(/@compute\b[^{};]*?\bfn\s+\w+\s*\(/g)];
    if (found.length !== 1) throw new Error(`The kernel has ${found.length} entry points, not one.`);
    const [, size] = /@workgroup_size\s*\(\s*(\w+)/.exec(this.#code)!;
    const invocations = constantOf(this.#code, size!);
    if (invocations % subgroupSize !== 0)
      throw new Error(`${invocations} invocations are no whole subgroups of ${subgroupSize}.`);
    const start = found[0]!.index + found[0]![0].length;
    const end = closingOf(this.#code, start);
    const body = this.#code.indexOf('{', end) + 1;
    const emulated: Readonly<Record<string, string>> = {
      subgroup_size: `${subgroupSize}u`,
      subgroup_invocation_id: `emulated_invocation % ${subgroupSize}u`,
      subgroup_id: `emulated_invocation / ${subgroupSize}u`,
    };
    let index = '';
    const kept: string[] = [];
    const lets: string[] = [];
    for (const parameter of argumentsFrom(this.#code, start)) {
      const [, builtin, name] = /@builtin\s*\(\s*(\w+)\s*\)\s*(\w+)\s*:/.exec(parameter) ?? [];
      if (!builtin) throw new Error(`The entry point takes ${parameter.trim()}, which is no builtin.`);
      if (builtin === 'local_invocation_index') index = name!;
      if (builtin in emulated) lets.push(`\n  let ${name} = ${emulated[builtin]};`);
      else kept.push(parameter.trim());
    }
    if (!index) {
      index = 'emulated_index';
      kept.push(`@builtin(local_invocation_index) ${index}: u32`);
    }
    this.#code = [
      this.#code.slice(0, start),
      kept.join(', '),
      this.#code.slice(end, body),
      setUp(index),
      ...lets,
      this.#code.slice(body),
    ].join('');
  }

  /** Whether functions of real subgroups remain. */
  #usesSubgroups(): boolean {
    const functions = new Set(this.#code.match(/\b(?:subgroup|quad)[A-Z]\w*(?=\s*\()/g));
    for (const name of functions)
      if (!NEIGHBOURS.has(name)) throw new Error(`${name} would be that of the device's own subgroups.`);
    return functions.size > 0;
  }
}

const LOAD = /^emulated_load_(left|right|result)_/;
