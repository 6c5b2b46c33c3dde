// Gives the default function of a script a browser: `browser SCRIPT [WORD...]`. The program and the libraries
// that a bare machine lacks are unpacked beside this file once, and nothing is fetched.
import { createRequire } from 'node:module';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';
import { spawnSync } from 'node:child_process';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
const packed = join(here, 'node_modules', '@sparticuz', 'chromium', 'bin');
const unpacked = join(here, 'chromium');

function unpack(name, into) {
  const content = brotliDecompressSync(readFileSync(join(packed, name)));
  if (!name.endsWith('.tar.br')) {
    writeFileSync(join(into, name.replace(/\.br$/, '')), content, { mode: 0o755 });
    return;
  }
  const done = spawnSync('tar', ['-x', '-C', into], { input: content });
  if (done.status !== 0) throw new Error(`unpack ${name}: ${done.stderr}`);
}

if (!existsSync(unpacked)) {
  const whole = mkdtempSync(join(here, '.new-'));
  for (const name of ['chromium.br', 'swiftshader.tar.br', 'al2023.tar.br', 'fonts.tar.br'])
    unpack(name, whole);
  try {
    renameSync(whole, unpacked);
  } catch (error) {
    // Somebody else was first.
    if (!existsSync(unpacked)) throw error;
    rmSync(whole, { recursive: true });
  }
}

const [script, ...words] = process.argv.slice(2);
const profile = mkdtempSync(join(process.env.TMPDIR ?? '/tmp', 'meshwright-browser-'));
mkdirSync(join(profile, 'cache'));
const libraries = [join(unpacked, 'lib'), unpacked, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':');
// Its own letters: a machine may have none, and pages look the same on all.
const fonts = join(profile, 'fonts.conf');
const folders = `<dir>${join(unpacked, 'fonts')}</dir><cachedir>${join(profile, 'cache')}</cachedir>`;
writeFileSync(
  fonts,
  `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>${folders}</fontconfig>`,
);
const browser = await chromium.launch({
  executablePath: join(unpacked, 'chromium'),
  args: [
    // A container has no user namespaces to make a sandbox of; the page is our own.
    '--no-sandbox',
    '--no-zygote',
    '--headless=shell',
    '--disable-dev-shm-usage',
    '--use-gl=angle',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--ignore-gpu-blocklist',
  ],
  env: {
    ...process.env,
    LD_LIBRARY_PATH: libraries,
    FONTCONFIG_FILE: fonts,
    XDG_CACHE_HOME: join(profile, 'cache'),
    HOME: profile,
  },
});
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
try {
  const { default: act } = await import(pathToFileURL(script).href);
  await act({ browser, axe, words });
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
}
