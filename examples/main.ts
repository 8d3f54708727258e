// npm run example -- NAME: runs the example of another engine in headless Chrome, and prints what it prints.
import { runExample, type Engine } from '../tools/engines.js';

await runExample(process.argv[2] as Engine, (line) => console.log(line));
