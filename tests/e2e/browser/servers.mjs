// Servers as they may also be: with ten thousand jobs, one that breaks off, one that wants a token. The page
// is the real one; some answers are made here.
import assert from 'node:assert/strict';
import { accessible, fits, open, photograph } from './eyes.mjs';

const STAGES = ['preprocess', 'shape', 'texture', 'export'];
const MANY = 10_000;
/** Rows in the document, whatever the list holds. */
const ROWS_MAX = 80;

function line(n) {
  return {
    id: n.toString(16).padStart(32, '0'),
    state: 'queued',
    life: 0,
    key: `web/${n}.png`,
    reason: null,
    phase: null,
    fraction: 0,
    seen_at_ms: 1_700_000_000_000 + n,
    stages: STAGES.map((stage) => ({ stage, state: 'waiting', fraction: 0 })),
  };
}

async function list(route, count) {
  const asked = new URL(route.request().url()).searchParams;
  const from = Number(asked.get('cursor') ?? count);
  const to = Math.max(from - Number(asked.get('limit') ?? 50), 0);
  const jobs = Array.from({ length: from - to }, (_, n) => line(from - n));
  await route.fulfill({ json: { jobs, next: to > 0 ? String(to) : null } });
}

/** To the end of the list, page by page, with few rows in the document and no long pause. */
export async function manyJobs(browser, address) {
  const { page, context, faults } = await open(browser, address);
  await page.route('**/api/jobs?*', (route) => list(route, MANY));
  await page.goto(address);
  await page.locator('.row').first().waitFor();
  let known = 0;
  while (known < MANY) {
    await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
    await page.waitForFunction(
      (was) => Number(document.querySelector('.row')?.getAttribute('aria-setsize')) > was,
      known,
    );
    known = Number(await page.locator('.row').first().getAttribute('aria-setsize'));
    assert.ok((await page.locator('.row').count()) <= ROWS_MAX, 'few rows are in the document');
  }
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  await page.locator('.row', { hasText: /^1\.png/ }).waitFor();
  // Anywhere in the list, what a frame costs does not grow with it.
  const jumps = await page.evaluate(async () => {
    const frame = () =>
      new Promise((resolve) => {
        requestAnimationFrame(resolve);
      });
    const height = document.documentElement.scrollHeight;
    const took = [];
    for (let n = 0; n < 60; n += 1) {
      window.scrollTo(0, (height * ((n * 37) % 60)) / 60);
      const before = performance.now();
      await frame();
      await frame();
      took.push(performance.now() - before);
    }
    return took.sort((a, b) => a - b);
  });
  // The middle one: the machine does other things too.
  const [middle, slowest] = [jumps[30], jumps.at(-1)];
  assert.ok(middle < 200, `a jump took ${middle} ms, the slowest ${slowest} ms`);
  assert.deepEqual(faults, []);
  console.log(
    JSON.stringify({ jobs: MANY, jump_ms_p50: Math.round(middle), jump_ms_max: Math.round(slowest) }),
  );
  await context.close();
}

/** A stream that ends is taken up where it ended; `reload` forgets and asks again. */
export async function resumes(browser, address) {
  const { page, context } = await open(browser, address);
  const places = [];
  let lists = 0;
  const event = {
    job: line(7).id,
    life: 0,
    at: 1,
    kind: 'progress',
    stage: 'shape',
    fraction: 0.5,
    phase: 'decimate',
  };
  const answers = [
    `id: 40\n\nevent: progress\ndata: ${JSON.stringify(event)}\nid: 41\n\n`,
    'event: reload\ndata: {}\nid: 0\n\n',
  ];
  await page.route('**/api/events', (route) => {
    places.push(route.request().headers()['last-event-id']);
    const body = answers.shift() ?? ': nothing new\n\n';
    return route.fulfill({ contentType: 'text/event-stream', body });
  });
  await page.route('**/api/jobs?*', (route) => {
    lists += 1;
    return list(route, lists > 1 && places.length > 1 ? 9 : 7);
  });
  await page.goto(address);
  await page.locator('.row.running', { hasText: 'shape: decimate' }).waitFor();
  await page.locator('.row', { hasText: '9.png' }).waitFor();
  while (places.length < 3) await page.waitForRequest('**/api/events');
  assert.deepEqual(places.slice(0, 3), [undefined, '41', '0']);
  await context.close();
}

/** Dead letters are listed with their errors; one is sent on its way again and leaves the list. */
export async function redrives(browser, address, { axe, folder }) {
  const { page, context, faults } = await open(browser, address);
  const letter = (n) => ({
    task: { job: line(n).id, upload: null, stage: 'shape' },
    key: `web/${n}.png`,
    life: 0,
    attempts: 3,
    error: 'the runner ended by signal 9, three times',
    at: 1_700_000_000_000,
  });
  let left = [letter(1), letter(2)];
  const redriven = [];
  await page.route('**/api/dead-letters?*', (route) =>
    route.fulfill({ json: { dead_letters: left, next: null } }),
  );
  await page.route('**/api/dead-letters/*/redrive', (route) => {
    const job = new URL(route.request().url()).pathname.split('/').at(-2);
    redriven.push(job);
    left = left.filter((one) => one.task.job !== job);
    return route.fulfill({ status: 202, json: { job, life: 1 } });
  });
  await page.goto(`${address}/#/dead`);
  await page.locator('.letters .error', { hasText: 'signal 9' }).nth(1).waitFor();
  await accessible(page, axe, 'dead letters');
  await fits(page, 'dead letters');
  await photograph(page, folder, 'dead-letters');
  await page.getByRole('button', { name: 'Redrive 2.png' }).click();
  await page.locator('.letters li').nth(1).waitFor({ state: 'detached' });
  assert.deepEqual(redriven, [line(2).id]);
  assert.deepEqual(faults, []);
  await context.close();
}

/** It asks for the token once, says when it is the wrong one, and sends it with every call from then on. */
export async function wantsItsToken(browser, address) {
  const { page, context } = await open(browser, address);
  const everybodys = ['/api/capabilities', '/api/version'];
  await page.route('**/api/**', (route) => {
    const said = route.request().headers().authorization;
    const { pathname } = new URL(route.request().url());
    if (everybodys.includes(pathname) || said === 'Bearer right') return route.continue();
    return route.fulfill({
      status: 401,
      contentType: 'application/problem+json',
      body: '{"detail":"the token is wrong"}',
    });
  });
  await page.goto(address);
  const enter = async (token) => {
    await page.locator('input[name=token]').fill(token);
    await page.getByRole('button', { name: 'Enter' }).click();
  };
  await enter('wrong');
  await page.getByRole('alert').waitFor();
  await enter('right');
  await page.locator('.row').first().waitFor();
  // A picture comes with the token too: by a call, and shown from memory.
  await page.locator('.row.done img[src^="blob:"]').first().waitFor();
  await page.reload();
  await page.locator('.row.done img[src^="blob:"]').first().waitFor();
  await page.getByRole('button', { name: 'Forget the token' }).click();
  await page.reload();
  await page.locator('input[name=token]').waitFor();
  await context.close();
}
