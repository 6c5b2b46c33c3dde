// Slices one .stl or .3mf file with CuraEngine (a WebAssembly build out of an npm package), and prints as JSON how many
// layers it made, the box of what it would extrude in millimetres, and what it found wrong with the mesh.
const fs = require('fs');
const path = require('path');

const file = process.argv[2];
if (!file || process.argv.length !== 3) {
  console.error('usage: slicer FILE');
  process.exit(64);
}

const source = path.join(path.dirname(require.resolve('cura-wasm/package.json')), 'src');
const engineFile = path.join(source, 'CuraEngine.js');
const text = fs.readFileSync(engineFile, 'utf8').replace(/export default CuraEngine;?\s*$/, '');
const wrapped = new Function('require', '__filename', '__dirname', `${text}; return CuraEngine;`);
const load = wrapped(require, engineFile, source);

// Parts as [binary STL]: CuraEngine itself reads nothing else, Cura's reader of 3MF is this loader's.
async function stl() {
  const bytes = fs.readFileSync(file);
  if (path.extname(file) === '.stl') return bytes;
  const { FileFormats, Unified3dLoader } = await import('unified-3d-loader');
  const format = Object.values(FileFormats).find((one) => one.extensions.includes(path.extname(file).slice(1)));
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const meshes = await new Unified3dLoader().load(buffer, format, { index: { normals: false, vertices: false } });
  if (meshes.length !== 1) throw new Error(`${meshes.length} meshes in ${file}`);
  const { vertices } = meshes[0];
  const faces = vertices.length / 9;
  const out = Buffer.alloc(84 + 50 * faces);
  out.writeUInt32LE(faces, 80);
  vertices.forEach((value, k) => out.writeFloatLE(value, 84 + 50 * Math.floor(k / 9) + 12 + 4 * (k % 9)));
  return out;
}

// The box of all moves that extrude, and the layers.
function walked(gcode) {
  const at = { X: 0, Y: 0, Z: 0, E: 0 };
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (const line of gcode.split('\n')) {
    if (!/^G[01] |^G92 /.test(line)) continue;
    const before = { ...at };
    for (const [, axis, value] of line.matchAll(/([XYZE])(-?[\d.]+)/g)) at[axis] = Number(value);
    if (!line.startsWith('G1') || at.E <= before.E || (at.X === before.X && at.Y === before.Y)) continue;
    for (const place of [before, at]) {
      ['X', 'Y', 'Z'].forEach((axis, k) => {
        low[k] = Math.min(low[k], place[axis]);
        high[k] = Math.max(high[k], place[axis]);
      });
    }
  }
  const layers = (gcode.match(/^;LAYER:\d+/gm) || []).length;
  return { layers, low, high };
}

async function main() {
  const model = await stl();
  const said = [];
  const print = (line) => said.push(line);
  const engine = await load({ noInitialRun: true, print, printErr: print });
  engine.FS.mkdir('/definitions');
  for (const name of ['fdmprinter', 'fdmextruder']) {
    const definition = fs.readFileSync(path.join(source, 'definitions', `${name}.def.json`));
    engine.FS.writeFile(`/definitions/${name}.def.json`, definition);
  }
  engine.FS.writeFile('Model.stl', model);
  globalThis['cura-wasm-progress-callback'] = () => {};
  globalThis['cura-wasm-metadata-callback'] = () => {};
  const settings = {
    layer_height: 0.3, layer_height_0: 0.3, adhesion_type: 'none', infill_line_distance: 0,
    machine_width: 400, machine_depth: 400,
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ['-s', `${key}=${value}`]);
  const printer = ['-j', 'definitions/fdmprinter.def.json'];
  engine.callMain(['slice', '-v', ...printer, '-o', 'Model.gcode', ...options, '-l', 'Model.stl']);
  const gcode = engine.FS.readFile('Model.gcode', { encoding: 'utf8' });
  const warnings = said.filter((line) => /^\[WARNING\] Mesh has/.test(line));
  console.log(JSON.stringify({ ...walked(gcode), warnings }));
}

main().catch((error) => {
  console.error(String(error));
  process.exit(2);
});
