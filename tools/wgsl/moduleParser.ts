import { both, not, type Condition } from './condition.js';
import { CodeParser, conditional } from './codeParser.js';
import { failAt, type NameUse, type ParsedTemplate, type WgslFile } from './tokens.js';

export interface ParsedDeclaration extends NameUse {
  readonly template: ParsedTemplate;
  /** Names of parameters and variables in it, with the lines where they are declared. */
  readonly locals: ReadonlyMap<string, number>;
}

export interface ParsedImport extends NameUse {
  /** The file without its ending, or `constants`. */
  readonly from: string;
  /** What the importing file calls it. */
  readonly as: string;
  /** Undefined if it always holds. */
  readonly condition: Condition | undefined;
}

export interface ParsedModule {
  readonly file: WgslFile;
  readonly imports: readonly ParsedImport[];
  readonly directives: ParsedTemplate;
  readonly declarations: readonly ParsedDeclaration[];
  /** Constants in bounds of unrolled loops and sizes of registers. */
  readonly sizes: ReadonlySet<string>;
}

/** @throws SyntaxError with file and line */
export function parseModule(file: WgslFile): ParsedModule {
  return new ModuleParser(file).module();
}

const DIRECTIVES: ReadonlySet<string> = new Set(['enable', 'requires', 'diagnostic']);

class ModuleParser extends CodeParser {
  readonly #imports: ParsedImport[] = [];
  readonly #directives: (string | NameUse)[] = [];
  readonly #declarations: ParsedDeclaration[] = [];

  module(): ParsedModule {
    while (!this.isAtEnd) this.#topLevel(undefined);
    return {
      file: this.file,
      imports: this.#imports,
      directives: this.#directives,
      declarations: this.#declarations,
      sizes: this.sizes,
    };
  }

  #topLevel(outer: Condition | undefined): void {
    if (this.is('@', 'if')) {
      const condition = this.condition();
      const within = (inner: Condition): Condition => (outer ? both(outer, inner) : inner);
      this.#topLevel(within(condition));
      if (this.takeElse()) this.#topLevel(within(not(condition)));
      return;
    }
    if (this.is('import')) return this.#import(outer);
    const { line, text } = this.token;
    const template = conditional(outer, this.is('@', 'record') ? this.#record() : this.declaration());
    if (DIRECTIVES.has(text)) this.#directives.push(...template);
    else if (this.declared) this.#declarations.push({ ...this.declared, template, locals: this.locals });
    else failAt(this.file, line, 'this is neither a declaration nor a directive.');
  }

  /**
   * `import package::file::name as other;`, or `package::file::{…, …}`, or `constants` for `package::file`; folders
   * come before the file: `package::shared::file`.
   */
  #import(condition: Condition | undefined): void {
    const { line } = this.take('import');
    const from = this.take().text;
    this.take('::');
    let file = from;
    if (from === 'package') {
      file = this.takeName();
      this.take('::');
      while (this.textAt(1) === '::') {
        file += `/${this.takeName()}`;
        this.take('::');
      }
    } else if (from !== 'constants') {
      this.fail(`imports come from package:: or constants::, not from ${from}::.`);
    }
    const item = (): void => {
      const name = this.takeName();
      const as = this.is('as') ? (this.take(), this.takeName()) : name;
      this.#imports.push({ from: file, name, as, condition, line });
    };
    if (this.is('{')) {
      this.take();
      while (!this.is('}')) {
        item();
        if (!this.is('}')) this.take(',');
      }
      this.take();
    } else {
      item();
    }
    this.take(';');
    this.takeSpace();
  }

  /**
   * `@record(words) fn record_at(index: u32) -> Record;` is the function that reads a struct, declared above, from an
   * array of u32 that begins with such structs; `@record(words) fn put_record(index: u32, record: Record);` writes it there.
   */
  #record(): ParsedTemplate {
    this.takeAll('@', 'record', '(');
    const { line } = this.token;
    const words: NameUse = { name: this.takeName(), line };
    this.takeAll(')', 'fn');
    const name = this.takeName();
    this.takeAll('(', 'index', ':', 'u32');
    let written: string | undefined;
    if (this.is(',')) {
      this.take();
      written = this.takeName();
      this.take(':');
    } else {
      this.takeAll(')', '-', '>');
    }
    const struct: NameUse = { name: this.takeName(), line };
    if (written) this.take(')');
    const fields = this.structs.get(struct.name);
    if (!fields) this.fail(`${struct.name} must be a struct that is declared above.`);
    const other = fields.find(({ type }) => type !== 'u32');
    if (other)
      this.fail(`${other.name} of ${struct.name} is ${other.type}, but only u32 can be read or written.`);
    this.take(';');
    this.takeSpace();
    this.declared = { name, line };
    this.locals = new Map();
    const first = `\nlet first = index * ${fields.length}u;`;
    if (written) {
      const write = fields.flatMap((field, i) => [
        '\n',
        words,
        `[first + ${i}u] = ${written}.${field.name};`,
      ]);
      return [`\nfn ${name}(index: u32, ${written}: `, struct, `) {${first}`, ...write, '\n}'];
    }
    const read = fields.flatMap((_, i) => ['\n', words, `[first + ${i}u],`]);
    return [`\nfn ${name}(index: u32) -> `, struct, ` {${first}\nreturn `, struct, '(', ...read, '\n);\n}'];
  }
}
