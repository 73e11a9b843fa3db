// Runs a model that network.js can not, by onnxruntime-web.
import {normalised} from './infer.js'
import * as ort from './runtime/ort.wasm.bundle.min.js'

export const files = ['model.onnx.gz', 'runtime/ort-wasm-simd-threaded.wasm.gz']
let session // one for all pictures

// `model` and `wasm` are ArrayBuffers: the file, and the runtime's code.
export async function load(card, {threads}, model, wasm) {
  Object.assign(ort.env.wasm, {numThreads: threads, wasmBinary: wasm})
  const options = {executionProviders: ['wasm'], logSeverityLevel: 4}
  session ??= await ort.InferenceSession.create(new Uint8Array(model), options)
  const hasMaps = String(card.resize) === String(card.size)
  const wanted = session.outputNames.filter(name => name !== 'evidence' || hasMaps)
  const [h, w] = card.size, tables = [0, 1, 2].map(c =>
    Float32Array.from({length: 256}, (_, v) => normalised(v, card.mean[c], card.std[c])))
  const run = pixels => {
    const planes = new Float32Array(3*h*w) // of red, green and blue
    for (let c = 0, to = 0; c < 3; c++) for (let i = 0; i < h*w; i++) planes[to++] = tables[c][pixels[4*i + c]]
    const image = new ort.Tensor('float32', planes, [1, 3, h, w])
    return session.run({image}, wanted)
  }
  await run(new Uint8Array(4*h*w)) // the first run is slow: it need not be a picture's
  return run
}
