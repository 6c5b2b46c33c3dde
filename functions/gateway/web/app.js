// The page: uploads pictures, follows the events, shows jobs. Everything it knows comes from the HTTP API.
'use strict';

const list = document.getElementById('jobs');
const none = document.getElementById('none');
const said = document.getElementById('said');
const form = document.getElementById('drop');
const zone = form.querySelector('.zone');
const input = document.getElementById('file');
const jobs = new Map();
const STAGES = ['preprocess', 'shape', 'texture', 'export'];
const ENDED = ['done', 'rejected', 'dead', 'cancelled'];

async function api(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail || response.statusText);
  return body;
}

function element(id) {
  let row = jobs.get(id);
  if (row) return row;
  const item = document.getElementById('job').content.firstElementChild.cloneNode(true);
  row = { item, job: { id, state: 'queued', stages: STAGES.map((stage) => ({ stage, state: 'waiting', fraction: 0 })) } };
  const stages = item.querySelector('.stages');
  row.bars = STAGES.map((stage) => {
    const cell = document.createElement('li');
    const bar = document.createElement('progress');
    bar.max = 1; bar.value = 0; bar.setAttribute('aria-label', stage);
    cell.append(stage, bar);
    stages.append(cell);
    return bar;
  });
  jobs.set(id, row);
  list.prepend(item);
  none.hidden = true;
  return row;
}

function button(text, act) {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.addEventListener('click', async () => {
    made.disabled = true;
    try { await act(); } catch (error) { said.textContent = error.message; made.disabled = false; }
  });
  return made;
}

function draw(row) {
  const { item, job } = row;
  const name = (job.key || '').split('/').pop() || job.id;
  item.querySelector('h3').textContent = name;
  const state = item.querySelector('.state');
  state.textContent = job.reason ? `${job.state}: ${job.reason}` : job.phase ? `${job.state}: ${job.phase}` : job.state;
  state.classList.toggle('bad', ['rejected', 'dead'].includes(job.state));
  job.stages.forEach((stage, n) => { row.bars[n].value = stage.state === 'done' ? 1 : stage.fraction; });
  const ended = ENDED.includes(job.state);
  if (row.drawn === job.state) return;
  row.drawn = job.state;
  const acts = item.querySelector('.acts');
  acts.replaceChildren();
  if (!ended) acts.append(button('Cancel', () => api(`/api/jobs/${job.id}/cancel`, { method: 'POST' })));
  if (['dead', 'cancelled'].includes(job.state)) acts.append(button('Try again', () => api(`/api/jobs/${job.id}/redrive`, { method: 'POST' })));
  const picture = item.querySelector('.picture');
  if (!picture.src && job.state !== 'rejected') {
    picture.alt = `the picture ${name}`;
    picture.onload = () => { picture.hidden = false; };
    picture.src = `/api/jobs/${job.id}/upload`;
  }
  const files = item.querySelector('.files');
  files.replaceChildren();
  if (job.state === 'done') {
    const preview = item.querySelector('.preview');
    preview.alt = `the model of ${name}`;
    preview.onload = () => { preview.hidden = false; };
    preview.src = `/api/jobs/${job.id}/artifacts/preview.png`;
    for (const artifact of (job.artifacts || []).filter((one) => one.stage === 'export')) {
      const link = document.createElement('a');
      link.href = artifact.url;
      link.textContent = `${artifact.name} · ${(artifact.size_bytes / 1024).toFixed(0)} KiB`;
      files.append(link);
    }
  }
}

async function refresh(id) {
  const row = element(id);
  row.job = await api(`/api/jobs/${id}`);
  row.drawn = undefined;
  draw(row);
}

function hear(event) {
  const row = element(event.job);
  const job = row.job;
  const stage = job.stages.find((one) => one.stage === event.stage);
  if (event.kind === 'accepted') { job.key = event.key; job.state = 'queued'; }
  if (event.kind === 'started') { job.state = 'running'; stage.state = 'running'; job.phase = event.stage; }
  if (event.kind === 'progress') { job.state = 'running'; stage.fraction = event.fraction; job.phase = `${event.stage}, ${event.phase}`; }
  if (event.kind === 'stage_done') { stage.state = 'done'; stage.fraction = 1; }
  draw(row);
  if (['finished', 'rejected', 'dead', 'cancelled'].includes(event.kind)) refresh(event.job).catch((error) => { said.textContent = error.message; });
}

async function send(files) {
  const recipe = new URLSearchParams();
  for (const name of ['quality', 'texture-px', 'size-mm']) recipe.set(name, form.elements[name].value);
  for (const file of files) {
    recipe.set('name', file.name);
    said.textContent = `Sending ${file.name} …`;
    try {
      const job = await api(`/api/jobs?${recipe}`, { method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: file });
      element(job.id).job.key = job.key;
      draw(element(job.id));
      said.textContent = `${file.name} is on its way.`;
    } catch (error) {
      said.textContent = `${file.name}: ${error.message}`;
    }
  }
  input.value = '';
}

form.addEventListener('submit', (event) => event.preventDefault());
input.addEventListener('change', () => send([...input.files]));
for (const kind of ['dragenter', 'dragover']) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add('over'); });
for (const kind of ['dragleave', 'drop']) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.remove('over'); });
zone.addEventListener('drop', (event) => send([...event.dataTransfer.files]));

const events = new EventSource('/api/events');
for (const kind of ['accepted', 'started', 'progress', 'stage_done', 'finished', 'rejected', 'dead', 'cancelled']) {
  events.addEventListener(kind, (event) => hear(JSON.parse(event.data)));
}
api('/api/jobs?limit=50').then(({ jobs: known }) => {
  for (const job of known.reverse()) {
    element(job.id).job = job;
    draw(element(job.id));
  }
  const ended = known.filter((job) => ENDED.includes(job.state) || job.state === 'ended');
  return Promise.all(ended.map((job) => refresh(job.id)));
}).catch((error) => { said.textContent = error.message; });
