// The page: uploads pictures, follows the events, shows jobs. Everything it knows comes from the HTTP API;
// a token, if the server wants one, is kept for this tab alone and sent as a header, never in an address.
'use strict';

const STAGES = ['preprocess', 'shape', 'texture', 'export'];
const ENDED = ['done', 'rejected', 'dead', 'cancelled', 'unreadable'];
const ENDS = ['finished', 'rejected', 'dead', 'cancelled'];
const THUMBNAIL_BYTES_MAX = 2000000; // larger uploads are not loaded just to be seen small
const AGAIN_MS_MIN = 1000;
const AGAIN_MS_MAX = 30000;
const ROWS_MAX = 200;

const at = (id) => document.getElementById(id);
const [list, none, form, input, login, leave] = ['jobs', 'none', 'drop', 'file', 'login', 'leave'].map(at);
const zone = form.querySelector('.zone');
const rows = new Map();
const say = (text) => { at('said').textContent = text; };
const token = () => sessionStorage.getItem('token');

class NoToken extends Error {}

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    askForToken();
    throw new NoToken('This server wants its token.');
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || response.statusText);
  }
  return response;
}

const api = async (path, options) => (await call(path, options)).json();
const tell = (error) => { if (!(error instanceof NoToken)) say(error.message); };

function askForToken() {
  if (token()) at('login-said').textContent = 'That token was not the one.';
  sessionStorage.removeItem('token');
  login.hidden = false;
  leave.hidden = true;
  for (const part of document.querySelectorAll('main > :not(#login)')) part.hidden = true;
  at('token').focus();
}

function enter() {
  login.hidden = true;
  leave.hidden = !token();
  for (const part of document.querySelectorAll('main > :not(#login)')) part.hidden = false;
}

function element(id) {
  let row = rows.get(id);
  if (row) return row;
  const item = at('job').content.firstElementChild.cloneNode(true);
  row = { item, job: blank(id), heard: 0, wants: false };
  const stages = item.querySelector('.stages');
  row.bars = STAGES.map((stage) => {
    const cell = document.createElement('li');
    const bar = document.createElement('progress');
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute('aria-label', stage);
    cell.append(stage, bar);
    stages.append(cell);
    return bar;
  });
  item.dataset.job = id;
  rows.set(id, row);
  list.prepend(item);
  seen.observe(item);
  none.hidden = true;
  if (rows.size > ROWS_MAX) forget(list.lastElementChild.dataset.job);
  return row;
}

function forget(id) {
  const row = rows.get(id);
  if (!row) return;
  seen.unobserve(row.item);
  row.item.remove();
  rows.delete(id);
}

function blank(id) {
  const stages = STAGES.map((stage) => ({ stage, state: 'waiting', fraction: 0 }));
  return { id, life: 0, state: 'queued', stages };
}

// What is on the screen is asked for in full; what is not, when it comes there.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const row = rows.get(target.dataset.job);
    if (row) row.visible = isIntersecting;
    if (row && isIntersecting && row.wants) refresh(row.job.id).catch(tell);
  }
});

function want(row) {
  row.wants = true;
  if (row.visible) refresh(row.job.id).catch(tell);
}

async function refresh(id) {
  const row = element(id);
  row.wants = false;
  // An event that came while the answer was on its way is newer than the answer.
  for (let tries = 0; tries < 3; tries += 1) {
    const heard = row.heard;
    const job = await api(`/api/jobs/${id}`);
    if (heard !== row.heard) continue;
    row.job = job;
    row.whole = true;
    row.drawn = undefined;
    draw(row);
    return;
  }
  row.wants = true;
}

function button(text, act) {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.addEventListener('click', async () => {
    made.disabled = true;
    try { await act(); } catch (error) { tell(error); made.disabled = false; }
  });
  return made;
}

function describe(job) {
  if (job.reason) return `${job.state}: ${job.reason}`;
  if (job.state === 'running') return job.phase ? `running: ${job.phase}` : 'running';
  const parts = [job.state];
  if (job.state === 'queued' && job.jobs_ahead) parts.push(`${job.jobs_ahead} before it`);
  if (job.state === 'queued' && job.eta_p50_ms) parts.push(`about ${Math.ceil(job.eta_p50_ms / 1000)} s`);
  return parts.join(' · ');
}

async function picture(image, path, alt) {
  if (image.dataset.path === path) return;
  image.dataset.path = path;
  const blob = await (await call(path)).blob();
  const url = URL.createObjectURL(blob);
  image.alt = alt;
  image.onload = () => { image.hidden = false; URL.revokeObjectURL(url); };
  image.onerror = () => { image.hidden = true; URL.revokeObjectURL(url); };
  image.src = url;
}

function download(artifact) {
  const link = document.createElement('a');
  link.href = artifact.url;
  link.textContent = `${artifact.name} · ${(artifact.size_bytes / 1024).toFixed(0)} KiB`;
  if (!token()) return link;
  // A link sends no header: the file is fetched and then saved.
  link.addEventListener('click', async (event) => {
    event.preventDefault();
    try {
      const blob = await (await call(artifact.url)).blob();
      const saved = document.createElement('a');
      saved.href = URL.createObjectURL(blob);
      saved.download = artifact.name;
      saved.click();
      setTimeout(() => URL.revokeObjectURL(saved.href), AGAIN_MS_MAX);
    } catch (error) { tell(error); }
  });
  return link;
}

function draw(row) {
  const { item, job } = row;
  const name = (job.key || '').split('/').pop() || job.id;
  item.querySelector('h3').textContent = name;
  const state = item.querySelector('.state');
  state.textContent = describe(job);
  state.classList.toggle('bad', ['rejected', 'dead', 'unreadable'].includes(job.state));
  job.stages.forEach((stage, n) => { row.bars[n].value = stage.state === 'done' ? 1 : stage.fraction; });
  const drawn = `${job.life} ${job.state} ${Boolean(row.whole)}`;
  if (row.drawn === drawn) return;
  row.drawn = drawn;
  const path = `/api/jobs/${job.id}`;
  const acts = item.querySelector('.acts');
  acts.replaceChildren();
  const post = (what) => api(`${path}/${what}`, { method: 'POST' }).then(() => refresh(job.id));
  if (!ENDED.includes(job.state)) acts.append(button('Cancel', () => post('cancel')));
  if (['dead', 'cancelled'].includes(job.state)) acts.append(button('Try again', () => post('redrive')));
  item.querySelector('.files').replaceChildren();
  if (!row.whole) return;
  const uploaded = job.upload_bytes > 0 && job.upload_bytes <= THUMBNAIL_BYTES_MAX && job.state !== 'rejected';
  if (uploaded) picture(item.querySelector('.picture'), `${path}/upload`, `the picture ${name}`).catch(() => {});
  const files = job.artifacts.filter((one) => one.stage === 'export');
  if (job.state === 'done') item.querySelector('.files').append(...files.map(download));
  if (files.some((one) => one.name === 'preview.png')) {
    picture(item.querySelector('.preview'), `${path}/artifacts/preview.png`, `the model of ${name}`).catch(() => {});
  }
}

function hear(event) {
  const row = element(event.job);
  row.heard += 1;
  if (event.life < row.job.life) return;
  if (event.life > row.job.life) {
    // It was begun again: what was said of the life before is void, what is done stays done.
    const { key, stages } = row.job;
    const kept = stages.map((one) => (one.state === 'done' ? one : { ...one, state: 'waiting', fraction: 0 }));
    row.job = { ...blank(event.job), key, life: event.life, stages: kept };
    row.whole = false;
  }
  const { job } = row;
  const stage = job.stages.find((one) => one.stage === event.stage);
  if (event.kind === 'accepted') job.key = event.key;
  if (ENDED.includes(job.state) && !ENDS.includes(event.kind)) { draw(row); return; }
  if (event.kind === 'started') { job.state = 'running'; stage.state = 'running'; job.phase = event.stage; }
  if (event.kind === 'progress') {
    job.state = 'running';
    stage.state = 'running';
    stage.fraction = event.fraction;
    job.phase = `${event.stage}, ${event.phase}`;
  }
  if (event.kind === 'stage_done') { stage.state = 'done'; stage.fraction = 1; }
  if (ENDS.includes(event.kind)) {
    job.state = event.kind === 'finished' ? 'done' : event.kind;
    job.reason = event.reason || event.error;
    want(row);
  }
  draw(row);
}

async function fill() {
  const heard = new Map([...rows].map(([id, row]) => [id, row.heard]));
  const { jobs } = await api('/api/jobs?limit=50');
  for (const job of jobs.reverse()) {
    const row = element(job.id);
    // Who was heard of meanwhile is asked for again instead of being overwritten.
    if (row.heard === (heard.get(job.id) || 0)) { row.job = job; row.whole = false; draw(row); }
    want(row);
  }
}

// Server-sent events by fetch, since an EventSource sends no header and gives up at the first refusal.
async function* read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split('\n\n');
    text = blocks.pop();
    for (const block of blocks) {
      const field = (name) => (block.match(new RegExp(`^${name}: ?(.*)$`, 'm')) || [])[1];
      yield { id: field('id'), kind: field('event'), data: field('data') };
    }
  }
}

async function follow() {
  let last;
  let pause = AGAIN_MS_MIN;
  for (;;) {
    try {
      const headers = last === undefined ? {} : { 'Last-Event-ID': last };
      const response = await call('/api/events', { headers });
      enter();
      say('');
      await fill();
      for await (const { id, kind, data } of read(response)) {
        pause = AGAIN_MS_MIN;
        if (id !== undefined) last = id;
        if (kind === 'reload') await fill();
        else if (data) hear(JSON.parse(data));
      }
    } catch (error) {
      if (error instanceof NoToken) return;
      say(`The connection to the server is lost (${error.message}); trying again …`);
    }
    await new Promise((resolve) => { setTimeout(resolve, pause); });
    pause = Math.min(pause * 2, AGAIN_MS_MAX);
  }
}

// What the form says, as far as it has a meaning.
function recipe() {
  const { quality, formats } = form.elements;
  const chosen = [...formats].filter((box) => box.checked).map((box) => box.value);
  if (!chosen.length) throw new Error('Choose a format at least.');
  const said = new URLSearchParams({ quality: quality.value, formats: chosen.join(',') });
  said.set('texture-px', form.elements['texture-px'].value);
  if (chosen.includes('stl')) said.set('size-mm', form.elements['size-mm'].value);
  return said;
}

async function send(files) {
  for (const file of files) {
    say(`Sending ${file.name} …`);
    try {
      const said = recipe();
      said.set('name', file.name);
      const headers = { 'Content-Type': 'application/octet-stream' };
      const job = await api(`/api/jobs?${said}`, { method: 'POST', headers, body: file });
      const row = element(job.id);
      row.job.key = job.key;
      draw(row);
      want(row);
      say(`${file.name} is on its way.`);
    } catch (error) {
      say(`${file.name}: ${error.message}`);
    }
  }
  input.value = '';
}

form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('change', () => {
  const boxes = [...form.elements.formats];
  form.elements['size-mm'].disabled = !boxes.some((box) => box.checked && box.value === 'stl');
});
input.addEventListener('change', () => send([...input.files]));
for (const kind of ['dragenter', 'dragover']) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add('over'); });
for (const kind of ['dragleave', 'drop']) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.remove('over'); });
zone.addEventListener('drop', (event) => send([...event.dataTransfer.files]));
login.addEventListener('submit', (event) => {
  event.preventDefault();
  at('login-said').textContent = '';
  sessionStorage.setItem('token', at('token').value.trim());
  at('token').value = '';
  follow();
});
leave.addEventListener('click', () => { sessionStorage.removeItem('token'); location.reload(); });
follow();
