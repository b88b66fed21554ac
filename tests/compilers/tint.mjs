// Compiles WGSL with Tint, which Dawn's package `webgpu` brings: a line of JSON in, {id, code, constants?}, and one
// out, {id, errors}. With constants the pipeline is compiled as well. No GPU is asked: Dawn's null backend has none.
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { readFileSync } from 'node:fs';

const folder = join(process.argv[2], 'node_modules', 'webgpu');
const { create, globals } = await import(pathToFileURL(join(folder, 'index.js')));
Object.assign(globalThis, globals);
// Everything else lives as long as this does.
globalThis.gpu = create(['backend=null']);
const adapter = await globalThis.gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ['shader-f16', 'subgroups'] });
const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
console.log(JSON.stringify({ version }));

async function faults(code, constants) {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    const refused = device.popErrorScope();
    const info = await module.getCompilationInfo();
    const errors = info.messages.filter((m) => m.type === 'error').map((m) => `line ${m.lineNum}: ${m.message}`);
    const refusal = await refused;
    if (errors.length === 0 && refusal) errors.push(refusal.message);
    if (errors.length === 0 && constants) {
        const compute = { module, constants };
        await device.createComputePipelineAsync({ layout: 'auto', compute }).catch((e) => errors.push(e.message));
    }
    return errors;
}

const AT_ONCE = 16;
let running = [];
for await (const line of createInterface({ input: process.stdin })) {
    const { id, code, constants } = JSON.parse(line);
    running.push(faults(code, constants).then((errors) => console.log(JSON.stringify({ id, errors }))));
    if (running.length === AT_ONCE) {
        await Promise.all(running);
        running = [];
    }
}
await Promise.all(running);
