// What the steps look with: a page that is watched for whatever a person would not see.
import assert from 'node:assert/strict';
import { join } from 'node:path';

export const WITHIN = 30_000;

/**
 * A page of its own, and all that went wrong in it: errors, breaches of the policy, requests to elsewhere.
 */
export async function open(browser, address, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    acceptDownloads: true,
    ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(WITHIN);
  const faults = [];
  const { host } = new URL(address);
  page.on('request', (request) => {
    const { protocol, host: to } = new URL(request.url());
    if (!['blob:', 'data:'].includes(protocol) && to !== host) faults.push(`a request to ${request.url()}`);
  });
  page.on('console', (message) => {
    const { url } = message.location();
    if (message.type() === 'error') faults.push(`console: ${message.text()} ${url}`);
  });
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`));
  await page.exposeFunction('onBreach', (what) => faults.push(`policy: ${what}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      window.onBreach(`${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return { page, context, faults };
}

/** A check of accessibility as it is seen now. */
export async function accessible(page, axe, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  const bad = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  const told = bad.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  assert.deepEqual(told, [], `accessibility of ${where}`);
}

/** Nothing is wider than the screen. */
export async function fits(page, where) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(over <= 0, `${where} is ${over} px wider than the screen`);
}

export async function photograph(page, folder, name) {
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

/** How many points of the model's canvas are drawn on, and in how many colours. */
export async function drawn(page) {
  return page.evaluate(
    () =>
      new Promise((resolve) => {
        // After the next frame, which may still be due.
        requestAnimationFrame(() =>
          requestAnimationFrame(() => {
            const canvas = document.querySelector('.model canvas');
            const flat = document.createElement('canvas');
            [flat.width, flat.height] = [canvas.width, canvas.height];
            const pen = flat.getContext('2d');
            pen.drawImage(canvas, 0, 0);
            const { data } = pen.getImageData(0, 0, flat.width, flat.height);
            const colours = new Set();
            let points = 0;
            let sum = 0;
            for (let at = 0; at < data.length; at += 4) {
              if (data[at + 3] === 0) continue;
              points += 1;
              const colour = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2];
              colours.add(colour);
              sum = (sum * 31 + colour + at) % 2147483647;
            }
            resolve({ share: points / (data.length / 4), colours: colours.size, sum });
          }),
        );
      }),
  );
}

/** Drops a file onto the page, as a person drags it in. */
export async function drop(page, name, type, content, [x, y] = [400, 400]) {
  await page.evaluate(
    ({ name, type, base64, x, y }) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const carried = new DataTransfer();
      carried.items.add(new File([bytes], name, { type }));
      for (const kind of ['dragenter', 'dragover', 'drop']) {
        const target = document.elementFromPoint(x, y);
        target.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
      }
    },
    { name, type, base64: content.toString('base64'), x, y },
  );
}

/** Pastes a file, as a person does with a screenshot. */
export async function paste(page, name, type, content) {
  await page.evaluate(
    ({ name, type, base64 }) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const clipboardData = new DataTransfer();
      clipboardData.items.add(new File([bytes], name, { type }));
      document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    },
    { name, type, base64: content.toString('base64') },
  );
}
