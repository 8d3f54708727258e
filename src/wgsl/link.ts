import type { Kernel, Spec } from './kernel.js';
import { declarationOf, partsOf } from './module.js';

/**
 * The WGSL of one variant of a kernel: conditions decided, constants declared, marked loops written out, and of all
 * declarations those that the entry point reaches.
 *
 * ```wgsl
 * @registers var acc: array<array<vec4f, COLS>, ROWS>;
 * @unroll for (var r = 0u; r < ROWS; r++) {
 *   @unroll for (var c = 0u; c < COLS; c++) { acc[r][c] *= rescale[r]; }
 * }
 * ```
 *
 * becomes `var acc_0_0: vec4f = vec4f(); …` and `{ { acc_0_0 *= rescale_0; } … }`. Compilers keep a small array in
 * registers only when each index is a constant, and whether a loop is unrolled for that is their choice; written out,
 * there is no choice. For a CPU that takes long to compile: with LOOPS in the spec, loops and arrays stay what they are.
 *
 * @throws RangeError if the spec lacks a constant, or a declaration that the variant needs is not part of it
 */
export function link({ name, modules }: Pick<Kernel, 'name' | 'modules'>, spec: Spec): string {
  const variant = new VariantWriter(name, spec);
  const directives = modules.map((module) => variant.write(partsOf(module).directives)).join('');
  const needed = new Map<string, string>();
  const constants: string[] = [];
  // Writing a declaration names others, which this loop comes to in turn.
  for (const declaration of variant.named) {
    const template = declarationOf(modules, declaration);
    if (!template) {
      constants.push(`\nconst ${declaration} = ${variant.constant(declaration)}u;`);
      continue;
    }
    const text = variant.write(template);
    if (!text) throw new RangeError(`${variantName({ name }, spec)} lacks ${declaration}, but needs it.`);
    needed.set(declaration, text);
  }
  // In the order of the sources, which explains more than that of use.
  const texts = modules.flatMap((module) =>
    [...partsOf(module).declarations.keys()].map((declaration) => needed.get(declaration) ?? ''),
  );
  return indented([directives, ...constants, ...texts, '\n'].join('').trimStart());
}

/** Templates have no indentation; brackets say what it should be. */
function indented(code: string): string {
  let depth = 0;
  const lines = code.split('\n').map((line) => {
    const outer = depth - /^[)}\]]*/.exec(line)![0].length;
    for (const sign of line.match(/[([{}\])]/g) ?? []) depth += '([{'.includes(sign) ? 1 : -1;
    return '  '.repeat(line ? outer : 0) + line;
  });
  return lines.join('\n');
}

/** A name for a variant, such as `attn_prefill{PAGED Q_F16 ROWS=4}`, with its mods last. */
export function variantName({ name, mods = [] }: Pick<Kernel, 'name' | 'mods'>, spec: Spec): string {
  const parts = Object.entries(spec)
    .filter(([, value]) => value !== false)
    .map(([part, value]) => (value === true ? part : `${part}=${value}`));
  const ofMods = mods.map(({ kind, label }) => `${kind}=${label}`);
  return `${name}{${[...parts.toSorted(), ...ofMods].join(' ')}}`;
}

/**
 * The marks of a template, which the build makes of `@if`, `@unroll`, `@registers` and names:
 *
 * | mark | stands for |
 * | --- | --- |
 * | `$name` | a declaration or a constant, which the variant then needs; in a loop, the value of its counter |
 * | `?A&!B\|C{ … #}` | text of the variants in which `(A and not B) or C` |
 * | `#i<N{ … #}` | a loop to be written out, for each value of `i` below a number or constant `N` |
 * | `#a[N][M]:T;` | a variable of type `T` for each element of an array, outermost size first |
 * | `#a[i][j/N]` | one of these: an index is a number, a counter, or such divided by a size (`/` or `%`) |
 */
const MARK = /([^$?#]*)(?:\$(\w+)|\?([^{]+)\{|#(\w+)<(\w+)\{|#(\w+)((?:\[[\w/%]+\])+)(?::([^;]+);)?|#\}|$)/g;

/** Writes templates for one spec. */
class VariantWriter {
  /** Declarations and constants that what was written names, the entry point first. */
  readonly named: Set<string>;
  readonly #spec: Spec;
  /** Counters of the loops that are being written out. */
  readonly #counters = new Map<string, number>();
  /** Those of loops that stay loops. */
  readonly #kept = new Set<string>();
  #marks: readonly RegExpExecArray[] = [];
  #at = 0;

  constructor(entryPoint: string, spec: Spec) {
    this.named = new Set([entryPoint]);
    this.#spec = spec;
  }

  write(template: string): string {
    this.#marks = [...template.matchAll(MARK)];
    this.#at = 0;
    return this.#block(true);
  }

  constant(name: string): number {
    const value = this.#spec[name];
    if (typeof value !== 'number') throw new RangeError(`${name} is not among the constants of the kernel`);
    return value;
  }

  /** What stands before the end of a block. */
  #block(isWritten: boolean): string {
    let written = '';
    for (;;) {
      const [, text, name, condition, counter, below, array, indices, type] = this.#marks[this.#at++]!;
      written += text;
      if (name) written += this.#name(name, isWritten);
      else if (condition) written += this.#block(isWritten && this.#holds(condition));
      else if (counter) written += this.#loop(counter, below!, isWritten);
      else if (!array) return isWritten ? written : '';
      else if (isWritten && this.#spec['LOOPS'] === true) written += this.#array(array, indices!, type);
      else if (isWritten) written += this.#registers(array, this.#sizesOf(indices!), type);
    }
  }

  #loop(counter: string, below: string, isWritten: boolean): string {
    if (isWritten && this.#spec['LOOPS'] === true) {
      this.#kept.add(counter);
      const body = this.#block(true);
      this.#kept.delete(counter);
      // Compilers unroll a loop whose length they see.
      return `\nfor (var ${counter} = 0u; ${counter} < 0x7fffffffu; ${counter}++) {\nif (${counter} >= ${this.#sizeOf(below)}) { break; }${body}\n}`;
    }
    const count = isWritten ? this.#valueOf(below) : 0;
    const first = this.#at;
    let written = '';
    for (let i = 0; i < count; i++) {
      this.#at = first;
      this.#counters.set(counter, i);
      written += this.#block(true);
    }
    this.#counters.delete(counter);
    if (count === 0) this.#block(false);
    return written;
  }

  #name(name: string, isWritten = true): string {
    const count = this.#counters.get(name);
    if (count !== undefined) return `${count}u`;
    if (this.#kept.has(name)) return name;
    if (isWritten) this.named.add(name);
    return name;
  }

  /** One of an array's variables, or the declarations of all where there is a type. */
  #registers(array: string, sizes: readonly number[], type: string | undefined): string {
    if (!type) return `${array}_${sizes.join('_')}`;
    const element = this.#typeOf(type);
    const names = sizes.reduce<string[]>(
      (all, size) => all.flatMap((name) => Array.from({ length: size }, (_, i) => `${name}_${i}`)),
      [array],
    );
    return names.map((name) => `\nvar ${name}: ${element} = ${element}();`).join('');
  }

  /** The same as an array: its declaration, or an element. */
  #array(array: string, indices: string, type: string | undefined): string {
    const sizes = indices
      .slice(1, -1)
      .split('][')
      .map((size) => size.replace(/\w+/g, (name) => this.#sizeOf(name)));
    if (!type) return array + sizes.map((size) => `[${size}]`).join('');
    const element = this.#typeOf(type);
    const whole = sizes.reduceRight((inner, size) => `array<${inner}, ${size}>`, element);
    return `\nvar ${array}: ${whole} = ${whole}();`;
  }

  /** The type of a variable, which may have names that are imported under a condition. */
  #typeOf(template: string): string {
    return template
      .replace(/\?([^{]+)\{([^#]*)#\}/g, (_, condition: string, text: string) =>
        this.#holds(condition) ? text : '',
      )
      .replace(/\$(\w+)/g, (_, name: string) => this.#name(name));
  }

  /** A number, a counter or a constant that is a number, as text. */
  #sizeOf(size: string): string {
    return typeof this.#spec[size] === 'number' ? `${this.#spec[size]}u` : size;
  }

  /** `A&!B|C` */
  #holds(condition: string): boolean {
    return condition
      .split('|')
      .some((all) =>
        all.split('&').every((one) => one.startsWith('!') !== (this.#spec[one.replace('!', '')] === true)),
      );
  }

  /** Those of `[N][i/M]`. */
  #sizesOf(text: string): number[] {
    return text
      .slice(1, -1)
      .split('][')
      .map((size) => {
        const [first, operator, second] = size.split(/([/%])/);
        const value = this.#valueOf(first!);
        if (!operator) return value;
        return operator === '/' ? Math.floor(value / this.#valueOf(second!)) : value % this.#valueOf(second!);
      });
  }

  /** A number, a counter or a constant. */
  #valueOf(size: string): number {
    return /^\d/.test(size) ? Number(size) : (this.#counters.get(size) ?? this.constant(size));
  }
}
