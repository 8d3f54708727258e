import {
  accessFunction,
  declarations,
  KINDS,
  multiplyFunction,
  slotFunction,
  slotSize,
  type EmulatedMatrices,
  type Kind,
  type Major,
} from './emulatedFunctions.js';
import { withSubgroupsOf } from './emulatedSubgroups.js';
import { MatrixRuns, type Command } from './matrixRuns.js';
import { argumentsFrom, constantOf, statementsOf, typeBehind, type Statement } from './wgslText.js';

/** The extension, as WGSL enables it. */
export const MATRIX_EXTENSION = 'chromium_experimental_subgroup_matrix';

/**
 * Returns a kernel that computes the same without the extension, on subgroups of the size given. `wgsl` is one entry point
 * with what it reaches. What is rewritten:
 *
 * | in the kernel | becomes |
 * | --- | --- |
 * | variables that are matrices, or parameters of functions | the places of their elements in private arrays |
 * | `subgroupMatrixLoad`, `-Store`, `-MultiplyAccumulate`, constructors | functions, of loads and stores one for each kind, order and array |
 * | the builtins `subgroup_size`, `subgroup_invocation_id`, `subgroup_id` of the entry point | those of the emulated subgroup |
 * | `@subgroup_size` | nothing: it must be the size given |
 * | the body of a function `invocation_by_subgroup` | the number of the invocation in its workgroup |
 * | `subgroupShuffleXor` of numbers in f32 | an exchange through workgroup memory |
 *
 * Subgroups are consecutive invocations, as `local_invocation_index` counts them. Other functions of subgroups are refused.
 * Arrays have elements of the matrix, or vectors of four words, each of which holds an f32 or two halves.
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
  /** The functions that are called, by their names. */
  readonly #functions = new Map<string, string>();
  readonly #runs = new MatrixRuns();
  /** Blocks around the statement, the innermost last. */
  readonly #blocks: Block[] = [];
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
    for (const statement of statementsOf(this.#code)) this.#rewriteStatement(statement);
    const code = withSubgroupsOf(this.#matrices.subgroupSize, this.#runs.finish());
    const rest = /\bsubgroup_?[mM]atrix\w*/.exec(code);
    if (rest) throw new Error(`Matrices cannot be emulated where a kernel has ${rest[0]}.`);
    return [
      ...[...extensions].map((extension) => `enable ${extension};`),
      code.trim(),
      declarations({ ...this.#most, commands: this.#runs.longest }),
      ...this.#functions.values(),
      ...this.#runs.functions(),
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
    extensions.delete('subgroups');
    extensions.delete('subgroup_size_control');
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

  /** Names the function of each load. */
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

  #rewriteStatement(statement: Statement): void {
    const { text, end } = statement;
    if (end === '{') {
      this.#blocks.push({ variables: this.#parametersOf(text), before: this.#used });
    } else if (end === '}') {
      const block = this.#blocks.pop();
      // Matrices of other functions may be in use when this one is called.
      this.#used = this.#blocks.length > 0 ? block!.before : this.#most;
    } else if (this.#blocks.length > 0) {
      const declared = /^\s*(?:let|var|const)\s+(\w+)\s*(?::\s*(\w+)\s*)?(?:=([^]*))?$/.exec(text);
      if (declared ? this.#declaration(declared) : this.#action(text)) return;
    }
    this.#runs.addOther(statement);
  }

  #parametersOf(header: string): Block['variables'] {
    const [start, returned] = /^\s*(?:@[^]*)?\bfn\s+\w+\s*\([^]*?(?:->\s*(\w+)\s*)?$/.exec(header) ?? [];
    if (returned && this.#kinds.has(returned)) throw new Error(`A function returns ${returned}.`);
    const parameters = start ? [...start.matchAll(/(\w+)\s*:\s*(\w+)/g)] : [];
    return new Map(parameters.map(([, name, type]) => [name!, this.#kinds.get(type!) ?? null]));
  }

  /** Whether a declaration was that of a matrix, and is rewritten. */
  #declaration([, name, type, initial]: readonly (string | undefined)[]): boolean {
    const kind = initial === undefined ? this.#kinds.get(type ?? '') : this.#kindOf(initial);
    if (kind) {
      if (initial === undefined) throw new Error(`${name} has no initial value.`);
      const slot = `${this.#take(kind)}u`;
      const own = this.#used;
      this.#runs.addMatrix(`let ${name} = ${slot};`, this.#into(slot, initial));
      // Others have slots of no name.
      this.#used = own;
    }
    this.#blocks.at(-1)!.variables.set(name!, kind ?? null);
    return kind !== undefined;
  }

  /** Whether a statement was an assignment to a matrix or a store, and is rewritten. */
  #action(text: string): boolean {
    const before = this.#used;
    const [, name, value] = /^\s*(\w+)\s*=([^=][^]*)$/.exec(text) ?? [];
    const [call, major, array] =
      /^\s*subgroupMatrixStore\s*<\s*(row|col)_major\s*>\s*\(\s*&\s*(\w+)\s*,/.exec(text) ?? [];
    if (name && this.#variable(name)) {
      this.#runs.addMatrix('', this.#into(name, value!));
    } else if (call) {
      const [offset, matrix, stride] = argumentsFrom(text, call.length);
      const { slot, commands } = this.#slotOf(matrix!);
      const store = this.#access('store', this.#matrixKind(matrix!), major as Major, array!);
      this.#runs.addMatrix('', [
        ...commands,
        { called: store, slot, arguments: [offset!.trim(), stride!.trim()] },
      ]);
    } else {
      return false;
    }
    this.#used = before;
    return true;
  }

  /** The slot of a matrix: that of a variable, or one which commands fill. */
  #slotOf(expression: string): { readonly slot: string; readonly commands: readonly Command[] } {
    const kind = this.#matrixKind(expression);
    const name = expression.trim();
    if (this.#variable(name)) return { slot: name, commands: [] };
    const slot = `${this.#take(kind)}u`;
    return { slot, commands: this.#into(slot, expression) };
  }

  /** What puts the value of an expression into a slot. */
  #into(slot: string, expression: string): readonly Command[] {
    const kind = this.#matrixKind(expression);
    const text = expression.trim();
    const parameters = argumentsFrom(`${text})`, text.indexOf('(') + 1).map((argument) => argument.trim());
    if (this.#variable(text)) {
      return [{ called: this.#function('copy', kind), slot, arguments: [text, '0u'] }];
    } else if (LOAD.test(text)) {
      const [called] = text.split('(');
      return [{ called: called!.trim(), slot, arguments: [parameters[0]!, parameters[1]!] }];
    } else if (MULTIPLY.test(text)) {
      const [left, right, before] = parameters.map((parameter) => this.#slotOf(parameter));
      const called = 'emulated_multiply_accumulate';
      this.#functions.set(called, multiplyFunction(this.#matrices));
      return [
        ...[left!, right!, before!].flatMap(({ commands }) => commands),
        { called, slot, arguments: [`${left!.slot} + 65536u * ${right!.slot}`, before!.slot] },
      ];
    }
    return [{ called: this.#function('zeros', kind), slot, arguments: ['0u', '0u'] }];
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
    return MULTIPLY.test(text) ? 'result' : this.#variable(text);
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

  /** The name of a function on slots. */
  #function(verb: 'zeros' | 'copy', kind: Kind): string {
    const name = `emulated_${verb}_${kind}`;
    this.#functions.set(name, slotFunction(verb, kind, this.#matrices));
    return name;
  }

  /** The name of a function that loads or stores. */
  #access(verb: 'load' | 'store', kind: Kind, major: Major, array: string): string {
    const name = `emulated_${verb}_${kind}_${major}_${array}`;
    if (!this.#functions.has(name)) {
      const access = { name, verb, kind, major, array, ...this.#arrayOf(array) };
      this.#functions.set(name, accessFunction(access, this.#matrices));
    }
    return name;
  }

  /** The type of an array's elements, and WGSL of their number. */
  #arrayOf(name: string): { readonly elementType: string; readonly length: string } {
    const declaration = `\\bvar\\s*<[^>]*>\\s*${name}\\s*:\\s*array\\s*<\\s*(\\w+)\\s*(?:,([^>]+))?>`;
    const [, element, size] = new RegExp(declaration).exec(this.#code) ?? [];
    if (!element) throw new Error(`${name} is no array in workgroup memory or storage.`);
    const elementType = typeBehind(this.#code, element);
    return { elementType, length: size ? `u32(${size.trim()})` : `arrayLength(&${name})` };
  }
}

const LOAD = /^emulated_load_(left|right|result)_/;
const MULTIPLY = /^subgroupMatrixMultiplyAccumulate\b/;
