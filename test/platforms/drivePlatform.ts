import { title, type GpuCase } from './gpuCase.js';
import type { Host, RunningProgram } from './hosts.js';
import type { Begun, CaseResult, ProgramOptions } from './protocol.js';

/** Longer than any case takes on a device that the CPU plays. */
const CASE_TIMEOUT_MS = 600_000;

/** What is known of a platform once its program runs. */
export interface Started extends Begun {
  /** What runs the program, with its version. */
  readonly engine: string;
}

/** Runs cases on a platform, in a new process or browser after each crash: the case that was running then has failed. */
export class PlatformDriver {
  readonly #host: Host;
  readonly #options: ProgramOptions;
  #program: Promise<RunningProgram> | undefined;
  #begun: Promise<Started> | undefined;

  constructor(host: Host, options: ProgramOptions) {
    this.#host = host;
    this.#options = options;
  }

  /** Start the program if it is not running. Rejects where the platform cannot run at all. */
  begin(): Promise<Started> {
    this.#begun ??= this.#start();
    return this.#begun;
  }

  /** The result of a case. It rejects only where the platform cannot run at all. */
  async run(suite: string, gpuCase: GpuCase): Promise<CaseResult> {
    await this.begin();
    const start = performance.now();
    try {
      const program = await this.#program!;
      const result = await answered(program, program.run(suite, gpuCase.name));
      const { failure } = result;
      if (!failure) return result;
      return { ...result, failure: { ...failure, stack: this.#host.sourceStack(failure.stack) } };
    } catch (error) {
      await this.close();
      return {
        title: `${suite}: ${title(gpuCase)}`,
        cells: 0,
        milliseconds: Math.round(performance.now() - start),
        failure: { message: `The platform broke down: ${(error as Error).message}`, stack: '' },
        compiled: [],
        refused: [],
      };
    }
  }

  async close(): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    this.#begun = undefined;
    await (await program?.catch(() => undefined))?.stop();
  }

  async #start(): Promise<Started> {
    this.#program = this.#host.start();
    const program = await this.#program;
    const begun = await answered(program, program.begin(this.#options));
    return { ...begun, engine: program.engine };
  }
}

/** An answer of the program; rejects if the program ends or is silent for too long instead. */
async function answered<T>(program: RunningProgram, answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const never = new Promise<never>((_, reject) => {
    void program.ended.then((reason) => reject(new Error(`${reason}.`)));
    const silence = new Error(`it said nothing for ${CASE_TIMEOUT_MS / 1000} s.`);
    timer = setTimeout(() => reject(silence), CASE_TIMEOUT_MS);
  });
  // A page that crashes rejects what it was asked, too.
  answer.catch(() => {});
  return Promise.race([answer, never]).finally(() => clearTimeout(timer));
}
