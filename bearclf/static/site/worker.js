// A thread of its own, so that the page never stalls: it holds the model, opens pictures and answers one after another.
import * as ort from './runtime/ort.wasm.bundle.min.js'
import {cropped, draft, predict, reduced} from './infer.js'
import {DAMAGED, open, Refusal, restOf, smaller} from './pictures.js'

const THREADS = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1 // one on a first visit: see sw.js
const SIDE = 480 // pixels: the longer side of a picture as the page shows it, if it is not enlarged
let limits, card, session, asked = false

// The bytes of one of the site's files, unpacked if they came packed; `count` is told how many came.
async function fetched(url, count, signal) {
  const answer = await fetch(new URL(url, import.meta.url), {signal}), parts = []
  if (!answer.ok) throw new Error(`${url} is missing (${answer.status})`)
  const reader = answer.body.getReader()
  for (let piece; piece = (await reader.read()).value; parts.push(piece)) count(piece.length)
  const blob = new Blob(parts), [a, b] = new Uint8Array(await blob.slice(0, 2).arrayBuffer())
  const isPacked = a === 0x1f && b === 0x8b, unpacked = () => blob.stream().pipeThrough(new DecompressionStream('gzip'))
  return (isPacked ? new Response(unpacked()) : blob).arrayBuffer()
}

async function start(settings) {
  limits = settings
  let bytes = 0
  const count = n => postMessage({progress: bytes += n})
  const files = ['runtime/ort-wasm-simd-threaded.wasm.gz', 'model.onnx.gz', 'card.json']
  const stop = new AbortController() // where one is missing, the others need not come
  const all = Promise.all(files.map(f => fetched(f, count, stop.signal)))
  const [wasm, model, text] = await all.catch(e => { stop.abort(); throw e })
  card = JSON.parse(new TextDecoder().decode(text))
  Object.assign(ort.env.wasm, {numThreads: THREADS, wasmBinary: wasm})
  const options = {executionProviders: ['wasm'], logSeverityLevel: 4}
  session = await ort.InferenceSession.create(new Uint8Array(model), options)
  postMessage({ready: true, card})
  const empty = () => new Float32Array(3*card.size[0]*card.size[1])
  setTimeout(() => asked || run(empty()), 100) // the first run is slow: it need not be a picture's
}

// What the network says of one tensor.
async function run(pixels) {
  const hasMaps = session.outputNames.includes('evidence') && String(card.resize) === String(card.size)
  const wanted = hasMaps ? ['logits', 'evidence'] : ['logits']
  const out = await session.run({image: new ort.Tensor('float32', pixels, [1, 3, ...card.size])}, wanted)
  return {logits: out.logits.data, evidence: out.evidence}
}

// A decoder of HEIC for browsers that have none of their own, fetched when the first such picture comes.
let libheif
async function heic(bytes) {
  try { libheif ??= (await import('./heic/libheif-bundle.js')).default() }
  catch { throw new Refusal('The decoder of HEIC pictures can not be fetched; is there a network?') }
  const images = new libheif.HeifDecoder().decode(bytes), image = images.find(o => o.is_primary()) ?? images[0]
  if (!image) throw new Refusal(DAMAGED)
  const pixels = new ImageData(image.get_width(), image.get_height())
  try {
    const shown = await new Promise(done => image.display(pixels, done))
    if (!shown) throw new Refusal(DAMAGED)
    return await createImageBitmap(pixels)
  } finally { for (const o of images) o.free() }
}

// What the page shows of `file`.
async function look(file) {
  const {kind, cut, bitmap} = await open(file, {...limits, heic: limits.heic && heic})
  try {
    const s = kind === 'jpeg' ? draft(bitmap.width, bitmap.height, limits.decodeSide) : 1, picture = reduced(bitmap, s)
    if (!cut) return {...await predict(picture, card, run), thumbnail: await smaller(bitmap, SIDE, .85)}
    const {box, note} = restOf(picture), [left, top, right, bottom] = box, rest = cropped(picture, box)
    const part = await createImageBitmap(bitmap, left*s, top*s, (right - left)*s, (bottom - top)*s)
    return {...await predict(rest, card, run), note, thumbnail: await smaller(part, SIDE, .85)}
  } finally { bitmap.close() }
}

onmessage = async ({data: {settings, file}}) => {
  if (settings) return start(settings).catch(e => postMessage({failed: e.message}))
  const begun = performance.now()
  asked = true
  try { postMessage({...await look(file), seconds: (performance.now() - begun)/1000}) }
  catch (e) {
    const error = e instanceof Refusal ? e.message : `This file could not be looked at (${e.message}).`
    postMessage({error})
  }
}
