import { runFunction } from './emulatedFunctions.js';
import type { Statement } from './wgslText.js';

/** A call of a function of the emulation. */
export interface Command {
  readonly called: string;
  readonly slot: string;
  readonly arguments: readonly [string, string];
}

/** A statement about matrices: commands after a declaration, if there is one. */
interface MatrixStatement {
  readonly declaration: string;
  readonly commands: readonly Command[];
}

/** From so many commands on, one loop over them costs less to compile than as many calls, which compilers write out. */
const MIN_COMMANDS = 6;
/** The most of a loop: memory for each takes time to compile as well. */
const MAX_COMMANDS = 64;

/** A call of a function that may have effects, which must come after those of earlier commands. */
const EFFECTS = /\b(?!(?:min|max|select|u32|i32|vec2u|vec2)\b)\w+\s*(?:<\w+>\s*)?\(/;

/**
 * Writes the statements of a kernel. Those about matrices that follow each other form a run. Kernels multiply blocks in
 * loops that are written out, so runs are long; they become lists of commands in a private array, and a loop over these.
 */
export class MatrixRuns {
  /** Commands of the longest run that is a list. */
  longest = 0;
  readonly #functions = new Map<string, string>();
  #code = '';
  /** Statements since the run began. */
  #run: (MatrixStatement | Statement)[] = [];
  #commands: Command[] = [];
  /** Whether each block around the statement has no head, as those have that a loop becomes when it is written out. */
  readonly #plainBlocks: boolean[] = [];

  addMatrix(declaration: string, commands: readonly Command[]): void {
    const mayRead = commands.some(({ arguments: places }) => places.some((place) => this.#mayRead(place)));
    if (mayRead || this.#commands.length + commands.length > MAX_COMMANDS) this.#finishRun();
    this.#run.push({ declaration, commands });
    this.#commands.push(...commands);
  }

  addOther(statement: Statement): void {
    if (!this.#isWithinRun(statement)) this.#finishRun();
    this.#run.push(statement);
  }

  /** The code of all statements. */
  finish(): string {
    this.#finishRun();
    return this.#code;
  }

  /** The functions that run the lists. */
  functions(): readonly string[] {
    return [...this.#functions.values()];
  }

  /** Whether commands may wait until after a statement. */
  #isWithinRun({ text, end }: Statement): boolean {
    const isEmpty = text.trim() === '';
    if (end === '{') {
      this.#plainBlocks.push(isEmpty);
      return isEmpty;
    }
    if (end === '}') return this.#plainBlocks.pop() === true && isEmpty;
    if (isEmpty) return true;
    return /^\s*(?:let|const)\s/.test(text) && !EFFECTS.test(text) && !this.#mayRead(text);
  }

  /** Whether an expression may read what commands are still to write. */
  #mayRead(expression: string): boolean {
    return (
      expression.includes('[') && this.#commands.some(({ called }) => called.startsWith('emulated_store_'))
    );
  }

  #finishRun(): void {
    const isList = this.#commands.length >= MIN_COMMANDS;
    const functions = [...new Set(this.#commands.map(({ called }) => called))].toSorted();
    let nWritten = 0;
    for (const statement of this.#run) {
      if ('end' in statement) {
        this.#code += statement.text + statement.end;
        continue;
      }
      this.#code += `\n${statement.declaration}`;
      for (const {
        called,
        slot,
        arguments: [first, second],
      } of statement.commands) {
        this.#code += isList
          ? ` emulated_commands[${nWritten++}] = vec4<u32>(${functions.indexOf(called)}u, ${slot}, ${first}, ${second});`
          : ` ${called}(${slot}, ${first}, ${second});`;
      }
    }
    if (isList) {
      const key = functions.join();
      const name = `emulated_run_${[...this.#functions.keys(), key].indexOf(key)}`;
      this.#functions.set(key, runFunction(name, functions));
      this.#code += `\n${name}(${nWritten}u);`;
      this.longest = Math.max(this.longest, nWritten);
    }
    this.#run = [];
    this.#commands = [];
  }
}
