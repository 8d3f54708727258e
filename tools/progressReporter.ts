import { relative } from 'node:path';
import type { Reporter, TestCase, TestModule, TestSuite, Vitest } from 'vitest/node';

/** ms without a line after which one says how far the tests are. */
const QUIET = 20_000;

/**
 * Prints, beside vitest's own reporter, a line for each suite of GPU cases when it ends, one from time to time while
 * nothing ends, and with each failure the command that repeats it alone.
 */
export class ProgressReporter implements Reporter {
  #vitest!: Vitest;
  #began = 0;
  #lastLine = 0;
  #nDone = 0;
  #nFailed = 0;
  /** Test files that have begun and not ended. */
  readonly #running = new Set<TestModule>();
  #timer: NodeJS.Timeout | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunStart(): void {
    this.#began = performance.now();
    this.#lastLine = this.#began;
    this.#nDone = 0;
    this.#nFailed = 0;
    this.#timer = setInterval(() => this.#sayHowFar(), 1000);
  }

  onTestRunEnd(): void {
    clearInterval(this.#timer);
  }

  onTestModuleStart(module: TestModule): void {
    this.#running.add(module);
  }

  onTestModuleEnd(module: TestModule): void {
    this.#running.delete(module);
    // Vitest's own reporter has said so.
    this.#lastLine = performance.now();
  }

  onTestCaseResult(test: TestCase): void {
    this.#nDone++;
    if (test.result().state !== 'failed') return;
    this.#nFailed++;
    const [error] = test.result().errors ?? [];
    this.#print(`✗ ${nameOf(test.module)} > ${test.fullName}: ${error?.message.split('\n')[0] ?? ''}`);
    this.#print(`  Again: ${repeatCommand(test)}`);
  }

  onTestSuiteResult(suite: TestSuite): void {
    const { name: project } = suite.project;
    if (project === 'unit' || suite.parent.type !== 'module') return;
    const tests = [...suite.children.allTests()].filter((test) => test.result().state !== 'skipped');
    if (tests.length === 0) return;
    const nFailed = tests.filter((test) => test.result().state === 'failed').length;
    const ms = tests.reduce((sum, test) => sum + (test.diagnostic()?.duration ?? 0), 0);
    const failed = nFailed > 0 ? `, ${nFailed} failed` : '';
    this.#print(`${project} ${suite.name}: ${tests.length} cases${failed}, ${(ms / 1000).toFixed(1)} s`);
  }

  #sayHowFar(): void {
    if (performance.now() - this.#lastLine < QUIET) return;
    const failed = this.#nFailed > 0 ? `, ${this.#nFailed} failed` : '';
    const running = [...this.#running].map(nameOf).join(', ');
    this.#print(`${this.#nDone} tests done${failed}; running ${running}`);
  }

  #print(line: string): void {
    this.#lastLine = performance.now();
    const seconds = Math.round((this.#lastLine - this.#began) / 1000);
    this.#vitest.logger.log(`[${String(seconds).padStart(3)} s] ${line}`);
  }
}

/** The file of a module, and its project. */
function nameOf({ moduleId, project }: TestModule): string {
  return `${project.name} ${relative(project.config.root, moduleId)}`;
}

/** The shell command that runs a test alone. */
function repeatCommand(test: TestCase): string {
  const { module, project } = test;
  const names: string[] = [test.name];
  for (let { parent } = test; parent.type === 'suite'; parent = parent.parent) names.unshift(parent.name);
  // What -t matches is the names with a space between them, by a regular expression.
  const pattern = `^${names.join(' ').replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`;
  const quoted = `'${pattern.replaceAll("'", "'\\''")}'`;
  return `npx vitest run --project ${project.name} ${relative(project.config.root, module.moduleId)} -t ${quoted}`;
}
