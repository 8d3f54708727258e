// node scripts/check.mjs: everything that needs no test, as many steps side by side as there are cores.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';

/**
 * Scripts of package.json, each with those that must have ended before it: the types of examples and of some tests are
 * those of the built package.
 *
 * @type {Readonly<Record<string, readonly string[]>>}
 */
const STEPS = {
  build: [],
  lint: [],
  'format:check': [],
  types: ['build'],
  'check:package': ['build'],
};

/** @type {Map<string, boolean>} */
const passed = new Map();
const waiting = new Set(Object.keys(STEPS));
let running = 0;

/** Start what can be started. */
function proceed() {
  for (const name of waiting) {
    if (running >= Math.max(2, availableParallelism())) return;
    const needs = STEPS[name] ?? [];
    if (needs.some((need) => passed.get(need) === false)) {
      waiting.delete(name);
      passed.set(name, false);
      console.log(`– ${name}: not run`);
    } else if (needs.every((need) => passed.has(need))) {
      waiting.delete(name);
      running++;
      void run(name).then((isPassed) => {
        running--;
        passed.set(name, isPassed);
        if (!isPassed) process.exitCode = 1;
        proceed();
      });
    }
  }
}

/**
 * Run a script of package.json; what it prints is shown only if it fails.
 *
 * @param {string} name
 * @returns {Promise<boolean>} whether it passed
 */
function run(name) {
  const start = performance.now();
  const child = spawn('npm', ['run', '--silent', name], { shell: process.platform === 'win32' });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (/** @type {string} */ text) => (output += text));
  return new Promise((resolve) => {
    child.on('close', (code) => {
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      if (code === 0) console.log(`✓ ${name} ${seconds} s`);
      else console.log(`${output}✗ ${name} ${seconds} s. Again: npm run ${name}`);
      resolve(code === 0);
    });
  });
}

proceed();
