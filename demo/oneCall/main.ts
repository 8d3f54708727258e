import { PageflashError } from '../../src/index.js';
import { SettingsForm } from './form.js';
import { adviseOnAdapter, adviseOnBrowser } from '../advice.js';
import { openGpu, type Gpu } from './gpu.js';
import { element, outdateResult, setNote, setText, showAdapter, showAdvice, showResult } from './page.js';
import { Picture } from './picture.js';
import { run } from './run.js';

const form = new SettingsForm(element<HTMLFormElement>('settings'));
const picture = new Picture();
const button = element<HTMLButtonElement>('run');
let gpu: Gpu | undefined;

element('settings').addEventListener('submit', (event) => {
  event.preventDefault();
  void runOnce();
});
void begin();

async function begin(): Promise<void> {
  const advice = adviseOnBrowser();
  if (advice) return showAdvice(advice);
  try {
    gpu = await connect();
  } catch (error) {
    return showAdvice(adviseOnAdapter(messageOf(error)));
  }
  form.setDefaults(gpu.traits.deviceClass === 'software');
  form.fromLink(location.hash.slice(1));
  element('workspace').hidden = false;
  await runOnce();
}

async function runOnce(): Promise<void> {
  if (button.disabled) return;
  button.disabled = true;
  setNote('error', undefined);
  outdateResult();
  let used: Gpu | undefined;
  try {
    const settings = form.read();
    history.replaceState(null, '', `#${form.toLink()}`);
    used = gpu ??= await connect();
    const result = await run(used, settings, (stage) => setText('stage', stage));
    showResult(result);
    picture.show(result, used.traits);
    setText('stage', 'Done.');
  } catch (error) {
    setText('stage', '');
    // A lost device may be reported after the calls that fail because of it.
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (used === gpu) showError(error);
  } finally {
    button.disabled = false;
  }
}

/** Open the GPU, and forget it when it is lost, so that the next run asks for a new one. */
async function connect(): Promise<Gpu> {
  const opened = await openGpu();
  showAdapter(opened);
  void opened.device.lost.then(({ message }) => {
    gpu = undefined;
    setNote(
      'error',
      `The GPU was lost: ${message || 'the browser gives no reason.'} The next run asks for it again.`,
    );
  });
  return opened;
}

function showError(error: unknown): void {
  setNote('error', messageOf(error));
  if (!(error instanceof PageflashError) && (error as Error).name !== 'SettingError') console.error(error);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
