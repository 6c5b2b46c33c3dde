// The dashboard as a person uses it, against a running Meshwright: `browser dashboard.mjs ADDRESS PICTURE
// FOLDER`. Each step asserts; screenshots of what it saw lie in the folder afterwards.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { WITHIN, accessible, drawn, drop, fits, open, paste, photograph } from './eyes.mjs';
import { firstPaint } from './paint.mjs';
import { plainPage } from './plain.mjs';
import { manyJobs, redrives, resumes, wantsItsToken } from './servers.mjs';

const FIRST_PAINT_MS_MAX = 1_000;
const FIRST_LOAD_BYTES_MAX = 400_000;
const VIEWS = { jobs: '#/', devices: '#/devices', performance: '#/performance', dead: '#/dead' };

async function paintsSoon(browser, address) {
  const said = await firstPaint(browser, address);
  const { first_paint_ms: at, first_load_bytes: bytes } = said;
  assert.ok(at <= FIRST_PAINT_MS_MAX, `first paint after ${at} ms`);
  assert.ok(bytes > 0 && bytes <= FIRST_LOAD_BYTES_MAX, `${bytes} bytes before the viewer`);
  console.log(JSON.stringify(said));
}

/** Drops the picture and writes down how far the row says that its job is, until it is done. */
async function becomesAModel(page, address, picture) {
  await page.goto(address);
  await page.locator('.link.live').waitFor();
  const name = `dropped ${Date.now()}.png`;
  await drop(page, name, 'image/png', readFileSync(picture));
  const row = page.locator('.row', { hasText: name });
  await row.waitFor();
  const seen = await row.evaluate(
    (item, within) =>
      new Promise((resolve, reject) => {
        const values = [];
        const begun = performance.now();
        const look = () => {
          const bar = item.querySelector('[role=progressbar]');
          const now = Number(bar.getAttribute('aria-valuenow'));
          if (values.at(-1) !== now) values.push(now);
          if (item.classList.contains('done')) resolve(values);
          else if (performance.now() - begun > within) reject(new Error(`it stands at ${values}`));
          else setTimeout(look, 10);
        };
        look();
      }),
    WITHIN,
  );
  assert.ok(seen.length >= 4 && seen.at(-1) === 100, `the bars went ${seen}`);
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
    'bars move forward',
  );
  await row.locator('img').waitFor();
  return row.locator('a').getAttribute('data-job');
}

async function turns(page) {
  await page.locator('.model[data-state=there]').waitFor();
  const at = await drawn(page);
  assert.ok(at.share > 0.03 && at.colours > 50, `the canvas is blank: ${JSON.stringify(at)}`);
  await page.locator('.model canvas').focus();
  await page.keyboard.press('ArrowLeft');
  const turned = await drawn(page);
  assert.notEqual(turned.sum, at.sum, 'an arrow key turns the model');
  await page.getByRole('button', { name: 'wireframe' }).click();
  const wires = await drawn(page);
  assert.notEqual(wires.sum, turned.sum, 'wires look otherwise');
  await page.getByRole('button', { name: 'clay' }).click();
  const clay = await drawn(page);
  assert.ok(clay.share > 0.03 && clay.sum !== wires.sum, 'clay looks otherwise');
  await page.getByRole('button', { name: 'textured' }).click();
  await page.getByRole('button', { name: 'as at first' }).click();
  assert.equal((await drawn(page)).sum, at.sum, 'it is as at first');
}

async function downloads(page, address, job) {
  const told = await (await fetch(`${address}/api/jobs/${job}`)).json();
  const files = told.artifacts.filter((one) => one.stage === 'export');
  assert.ok(files.length >= 3, 'glb, stl and preview');
  for (const { name, sha256 } of files) {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.locator(`.files a[download="${name}"]`).click(),
    ]);
    const content = readFileSync(await download.path());
    assert.equal(createHash('sha256').update(content).digest('hex'), sha256, name);
  }
}

/** A large job: somebody ends it while it runs, thinks again, and it becomes a model after all. */
async function endsAndBeginsAgain(page, address, picture) {
  const formats = 'glb,stl,ply,obj,3mf,usdz,turntable';
  const asked = `quality=fine&texture-px=4096&formats=${formats}&name=ended-${Date.now()}.png`;
  const body = readFileSync(picture);
  const headers = { 'Content-Type': 'application/octet-stream' };
  const made = await fetch(`${address}/api/jobs?${asked}`, { method: 'POST', headers, body });
  const { id } = await made.json();
  await page.goto(`${address}/#/jobs/${id}`);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.locator('.head .chip.cancelled').waitFor();
  await page.getByRole('button', { name: 'Run again' }).click();
  await page.locator('.head .chip.done').waitFor();
  await page.locator('.model[data-state=there]').waitFor();
  await page.locator('.log .cancelled').waitFor();
}

/** Devices, the limit and a job's phases, where the server tells of them. */
async function tellsWhatIsMeasured(page, address, job) {
  const has = async (path) => (await fetch(`${address}${path}`)).ok;
  if (await has('/api/devices')) {
    await page.goto(`${address}/#/devices`);
    await page.locator('.device .figures').first().waitFor();
    await page.locator('.device .memory .used').first().waitFor({ state: 'attached' });
    await page.locator('.queue li', { hasText: 'waiting' }).nth(3).waitFor();
  }
  if (await has('/api/performance/bottlenecks')) {
    await page.goto(`${address}/#/performance`);
    await page.locator('.limit .capacity .bounds').first().waitFor();
    await page.locator('.gains li').first().waitFor();
  }
  if (await has(`/api/jobs/${job}/profile`)) {
    await page.goto(`${address}/#/jobs/${job}`);
    await page.locator('.waterfall .read', { hasText: 'commit' }).first().waitFor();
  }
  await page.goto(`${address}/#/jobs/${job}`);
  await page.locator('.waterfall li').nth(3).waitFor();
  await page.locator('.why li', { hasText: 'to give' }).nth(3).waitFor();
}

const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);

async function followsTheLight(page) {
  await page.emulateMedia({ colorScheme: 'light' });
  const light = await ground(page);
  await page.emulateMedia({ colorScheme: 'dark' });
  const dark = await ground(page);
  assert.notEqual(light, dark, 'dark follows the system');
  // As the system, dark, light.
  await page.keyboard.press('t');
  await page.emulateMedia({ colorScheme: 'light' });
  assert.equal(await ground(page), dark, 'the switch outdoes the system');
  await page.keyboard.press('t');
  assert.equal(await ground(page), light);
  await page.reload();
  assert.equal(await ground(page), light, 'and is kept');
  await page.keyboard.press('t');
}

async function looksWell(browser, address, job, { axe, folder }) {
  for (const [width, height] of [
    [1280, 900],
    [360, 740],
  ]) {
    for (const colorScheme of ['light', 'dark']) {
      const { page, context, faults } = await open(browser, address, {
        viewport: { width, height },
        colorScheme,
      });
      for (const [name, place] of Object.entries({ ...VIEWS, job: `#/jobs/${job}` })) {
        const where = `${name}-${width}-${colorScheme}`;
        await page.goto(`${address}/${place}`);
        await page.locator('h1').first().waitFor();
        if (name === 'job') await page.locator('.model[data-state=there]').waitFor();
        if (name === 'jobs') await page.locator('.row').first().waitFor();
        await accessible(page, axe, where);
        await fits(page, where);
        await photograph(page, folder, where);
      }
      assert.deepEqual(faults, [], `${width} ${colorScheme}`);
      await context.close();
    }
  }
}

async function refusesInWords(page, address) {
  await page.goto(address);
  await page.locator('.link.live').waitFor();
  await drop(page, 'notes.txt', 'text/plain', Buffer.from('not a picture'));
  await page.locator('.told .failed', { hasText: 'text/plain' }).waitFor();
  const name = `broken ${Date.now()}.png`;
  await drop(page, name, 'image/png', Buffer.from('not a picture'));
  const row = page.locator('.row.rejected', { hasText: name });
  await row.waitFor();
  assert.match(await row.textContent(), /no picture/);
}

/** A picture out of the clipboard is an upload like any other. */
async function takesWhatIsPasted(page, address, picture) {
  await page.goto(address);
  await page.locator('.link.live').waitFor();
  const name = `pasted ${Date.now()}.png`;
  await paste(page, name, 'image/png', readFileSync(picture));
  await page.locator('.row', { hasText: name }).waitFor();
}

/** Without a mouse: to the newest job, into it, back, and through the views. */
async function worksByKeys(page, address) {
  await page.goto(address);
  // All that there is: a job that is just told of may stand there before the others.
  await page.locator('.row a[data-n="1"]').waitFor();
  await page.keyboard.press('j');
  await page.locator('.row.here a:focus').waitFor();
  await page.keyboard.press('j');
  const second = page.locator('.row a[data-n="1"]:focus');
  const job = await second.getAttribute('data-job');
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/#/jobs/${job}`);
  await page.keyboard.press('Escape');
  await page.locator('.row').first().waitFor();
  await page.keyboard.press('4');
  await page.getByRole('heading', { name: 'Dead letters' }).waitFor();
  await page.keyboard.press('?');
  await page.locator('dialog[open]').waitFor();
  await page.keyboard.press('Escape');
}

export default async function act({ browser, axe, words: [address, picture, folder] }) {
  const html = await (await fetch(address)).text();
  assert.match(html, /name="meshwright" content="dashboard"/, 'the program was built without the dashboard');
  await paintsSoon(browser, address);
  const { page, faults } = await open(browser, address);
  const job = await becomesAModel(page, address, picture);
  await page.locator(`a[data-job="${job}"]`).click();
  await turns(page);
  await downloads(page, address, job);
  await tellsWhatIsMeasured(page, address, job);
  await endsAndBeginsAgain(page, address, picture);
  await followsTheLight(page);
  await takesWhatIsPasted(page, address, picture);
  await refusesInWords(page, address);
  await worksByKeys(page, address);
  assert.deepEqual(faults, []);
  await looksWell(browser, address, job, { axe, folder });
  await plainPage(browser, address, picture, { axe, folder });
  await redrives(browser, address, { axe, folder });
  await manyJobs(browser, address);
  await resumes(browser, address);
  await wantsItsToken(browser, address);
}
