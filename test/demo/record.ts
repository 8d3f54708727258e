import { writeFile } from 'node:fs/promises';
import { launchChrome } from '../../tools/browser/chromePage.js';
import { buildDemo, ChatPage } from './chatPage.js';
import { Film } from './film.js';

// npm run demo:record: the chat as an animated picture, for the README. Times of waiting are cut short; what is seen is
// as it was computed, on whatever plays the GPU here.

const FILE = 'demo/chat/recording.png';
const SIZE = { width: 1220, height: 720 };
/** Of the pattern of a longer conversation. */
const N_ROWS = 64;

const [demo, browser] = await Promise.all([buildDemo(), launchChrome()]);
const chat = await ChatPage.open({ browser, url: demo.url });
const { page } = chat;
await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }]);
await chat.untilReady();
const film = await Film.begin(page, SIZE);

await film.shoot(700);
const field = '[aria-label="Question in Conversation A"]';
await page.focus(field);
for (const word of 'Tell me a story about a token.'.split(/(?<= )/)) {
  await page.type(field, word);
  await film.shoot(160);
}
await page.keyboard.press('Enter');
await film.shootUntil(chat.untilAnswering('A', 110), 2000);
await chat.pressAtOnce('Another end', 'A');
await film.shootUntil(Promise.all([chat.untilAnswered('A'), chat.untilAnswered('B')]), 3500);
await film.shoot(1000);

await chat.pressAtOnce('Show the pattern');
await page.waitForSelector('.pattern-map[aria-busy=false]');
await page.evaluate(() => document.querySelector('.pattern-map')!.scrollIntoView({ block: 'center' }));
await film.shoot(700);
// Each row is of a token, the last one of the newest. Most of them look at the one before.
const [, nTokens] = /(\d+) tokens/.exec(await chat.text('.pattern-text'))!.map(Number);
const map = (await page.$('.pattern-map'))!;
const { width, height } = (await map.boundingBox())!;
for (let row = 4; row < N_ROWS; row += 7) {
  const column = nTokens! - N_ROWS + row - 1;
  const place = { x: ((column + 0.5) * width) / nTokens!, y: ((row + 0.5) * height) / N_ROWS };
  const { x, y } = await map.clickablePoint(place);
  await page.mouse.move(x, y);
  await film.shoot(row + 7 < N_ROWS ? 150 : 1800);
}

const file = await film.end(browser);
await writeFile(FILE, file);
process.stdout.write(`${FILE}: ${(file.length / 1e6).toFixed(2)} MB, ${film.seconds.toFixed(1)} s\n`);
await browser.close();
await demo.close();
process.exit(0);
