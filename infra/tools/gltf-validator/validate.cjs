// Prints the Khronos validator's report for one .glb or .gltf file as JSON; exits 1 if it has errors or warnings.
const fs = require('fs');
const path = require('path');
const validator = require('gltf-validator');

const file = process.argv[2];
if (!file || process.argv.length !== 3) {
  console.error('usage: gltf-validator FILE');
  process.exit(64);
}
validator
  .validateBytes(new Uint8Array(fs.readFileSync(file)), { uri: path.basename(file), maxIssues: 100 })
  .then((report) => {
    console.log(JSON.stringify(report, null, 2));
    process.exitCode = report.issues.numErrors + report.issues.numWarnings > 0 ? 1 : 0;
  })
  .catch((error) => {
    console.error(String(error));
    process.exitCode = 2;
  });
