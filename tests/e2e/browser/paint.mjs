// How soon the dashboard is painted, and what it loads until then: `browser paint.mjs ADDRESS` says it as JSON.
import assert from 'node:assert/strict';
import { open } from './eyes.mjs';

/** The soonest of some tries, since the machine does other things too. */
export async function firstPaint(browser, address) {
  const tries = [];
  for (let n = 0; n < 5; n += 1) {
    const { page, context, faults } = await open(browser, address);
    await page.goto(address);
    await page.getByText('New model').waitFor();
    await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length > 0);
    const [at, bytes] = await page.evaluate(() => {
      const all = [
        ...performance.getEntriesByType('resource'),
        ...performance.getEntriesByType('navigation'),
      ];
      const ours = all.filter((one) => !new URL(one.name).pathname.startsWith('/api'));
      const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime;
      return [paint, ours.reduce((sum, one) => sum + one.encodedBodySize, 0)];
    });
    tries.push({ at, bytes });
    assert.deepEqual(faults, []);
    await context.close();
  }
  const at = Math.min(...tries.map((one) => one.at));
  return { first_paint_ms: Math.round(at), first_load_bytes: tries[0].bytes };
}

export default async function act({ browser, words: [address] }) {
  const html = await (await fetch(address)).text();
  assert.match(html, /name="meshwright" content="dashboard"/, 'the program was built without the dashboard');
  console.log(JSON.stringify(await firstPaint(browser, address)));
}
