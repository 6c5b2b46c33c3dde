// The plain page, which takes the dashboard's place in a program that was built without Node.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { accessible, drop, fits, open, photograph } from './eyes.mjs';

/** Drops a picture, sees the stages move, the preview, the downloads. */
export async function plainPage(browser, address, picture, { axe, folder }) {
  const { page, context, faults } = await open(browser, address);
  await page.goto(`${address}/plain`);
  const name = `plain ${Date.now()}.png`;
  await drop(page, name, 'image/png', readFileSync(picture), [400, 250]);
  const row = page.locator('.job', { hasText: name });
  await row.locator('.stages progress').nth(3).waitFor();
  const download = row.locator('.files a', { hasText: 'model.glb' });
  await download.waitFor();
  await page.waitForFunction(
    (job) => [...document.querySelectorAll(`[data-job="${job}"] progress`)].every((bar) => bar.value === 1),
    await row.getAttribute('data-job'),
  );
  await row.locator('.preview').waitFor({ state: 'visible' });
  const [saved] = await Promise.all([page.waitForEvent('download'), download.click()]);
  assert.equal(readFileSync(await saved.path()).subarray(0, 4).toString(), 'glTF');
  await accessible(page, axe, 'plain');
  await fits(page, 'plain');
  await photograph(page, folder, 'plain');
  assert.deepEqual(faults, []);
  await context.close();
}
