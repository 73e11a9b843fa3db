// A thread of its own, so that the page never stalls: it holds the model, opens pictures and answers one after another.
import {cropped, draft, drawn, predict, reduced} from './infer.js'
import {fitting, Kernels} from './kernels.js'
import {files, load} from './model.js' // network.js or onnx.js, whichever runs the model of this site
import {DAMAGED, open, Refusal, restOf, smaller} from './pictures.js'

const THREADS = crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1 // one on a first visit: see sw.js
const LARGE = 2**28 // bytes of memory: after so large a picture it is given back
const SIDE = 480 // pixels: the longer side of a picture as the page shows it, if it is not enlarged
let limits, card, code, model, kernels, run

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
  const stop = new AbortController() // where one is missing, the others need not come
  const wanted = ['card.json', 'kernels.wasm', 'kernels-plain.wasm', ...files]
  const all = Promise.all(wanted.map(f => fetched(f, count, stop.signal)))
  const [text, fast, plain, ...rest] = await all.catch(e => { stop.abort(); throw e })
  card = JSON.parse(new TextDecoder().decode(text))
  code = fitting(fast, plain)
  model = rest
  await ready()
  postMessage({ready: true, card})
}

// The kernels in a memory of their own, and the model.
async function ready() {
  kernels?.close()
  kernels = await Kernels.load(code, THREADS)
  run = await load(card, kernels, ...model)
}

// A decoder of HEIC for browsers that have none of their own, fetched when the first such picture comes.
let libheif, decoder // which lets go of a picture when it decodes the next one
async function heic(bytes) {
  try { libheif ??= (await import('./heic/libheif-bundle.js')).default() }
  catch { throw new Refusal('The decoder of HEIC pictures can not be fetched; is there a network?') }
  decoder ??= new libheif.HeifDecoder()
  const images = decoder.decode(bytes), image = images.find(o => o.is_primary()) ?? images[0]
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
    kernels.reset()
    const s = kind === 'jpeg' ? draft(bitmap.width, bitmap.height, limits.decodeSide) : 1
    const picture = reduced(bitmap, s, kernels)
    if (!cut) {
      const isSmall = kind === 'jpeg' && Math.max(bitmap.width, bitmap.height) <= SIDE // and is shown as it is
      const shown = s > 1 ? drawn(picture, kernels) : bitmap, answer = await predict(picture, card, kernels, run)
      return {...answer, thumbnail: isSmall ? null : await smaller(shown, SIDE, .85)}
    }
    const {width, height, at} = picture, data = kernels.view(Uint8Array, at, 4*width*height)
    const {box, note} = restOf({width, height, data}), [left, top, right, bottom] = box, rest = cropped(picture, box)
    const part = await createImageBitmap(bitmap, left*s, top*s, (right - left)*s, (bottom - top)*s)
    return {...await predict(rest, card, kernels, run), note, thumbnail: await smaller(part, SIDE, .85)}
  } finally { bitmap.close() }
}

async function answer(file) {
  const begun = performance.now()
  try { postMessage({...await look(file), seconds: (performance.now() - begun)/1000}) }
  catch (e) {
    const error = e instanceof Refusal ? e.message : `This file could not be looked at (${e.message}).`
    postMessage({error})
  }
  if (kernels.memory.buffer.byteLength > LARGE) await ready()
}

let turn = Promise.resolve() // one after another
onmessage = ({data: {settings, file}}) => {
  turn = turn.then(() => file ? answer(file) : start(settings))
    .catch(e => postMessage({failed: e.message ?? 'it did not start'}))
}
