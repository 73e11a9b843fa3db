// From the pixels of a picture to the model's answer: what bearclf/inference.py does in Python, step by step and with
// the same names.
// Nothing here knows of the page or of the browser, but for the canvases in `reduced` and `drawn`.

import {OTHER} from './answers.js'

// How many times smaller Python decodes a JPEG: 1, 2, 4 or 8 times, with both sides at least `side` pixels.
export function draft(width, height, side) {
  const fits = Math.min(Math.floor(width/side), Math.floor(height/side))
  return [8, 4, 2, 1].find(s => s <= fits) ?? 1
}

// Copies the picture into the memory of the kernels, four bytes a pixel, `s` times smaller, white where it is
// transparent: {width, height, at, pitch: bytes of a row}. Decoders of JPEG shrink by averaging squares of s x s
// pixels; so does this, strip by strip, as a canvas may not be large.
export function reduced(bitmap, s, kernels) {
  const width = Math.ceil(bitmap.width/s), height = Math.ceil(bitmap.height/s), strip = Math.min(32*s, bitmap.height)
  const {at} = kernels.take(4*width*height), canvas = new OffscreenCanvas(bitmap.width, strip)
  const pen = canvas.getContext('2d', {willReadFrequently: true}), part = s > 1 && kernels.take(4*bitmap.width*strip)
  for (let top = 0; top < bitmap.height; top += strip) {
    const rows = Math.min(strip, bitmap.height - top), to = at + 4*width*top/s
    pen.fillStyle = 'white'
    pen.fillRect(0, 0, bitmap.width, rows)
    pen.drawImage(bitmap, 0, top, bitmap.width, rows, 0, 0, bitmap.width, rows)
    kernels.view(Uint8Array, part ? part.at : to).set(pen.getImageData(0, 0, bitmap.width, rows).data)
    if (part) kernels.call('averaged', Math.ceil(rows/s), part.at, rows, bitmap.width, Math.log2(s), width, to)
  }
  if (part) kernels.give(part)
  return {width, height, at, pitch: 4*width}
}

// The picture as a canvas.
export function drawn({width, height, at}, kernels) {
  const canvas = new OffscreenCanvas(width, height)
  const pixels = new Uint8ClampedArray(kernels.view(Uint8Array, at, 4*width*height)) // a copy
  canvas.getContext('2d').putImageData(new ImageData(pixels, width, height), 0, 0)
  return canvas
}

export function cropped({at, pitch}, [left, top, right, bottom]) {
  return {width: right - left, height: bottom - top, at: at + top*pitch + 4*left, pitch}
}

// The picture in one to four parts along the side that would be squashed, as boxes [left, top, right, bottom]:
// `parts_of` in Python.
export function partsOf({width, height}, outHeight, outWidth) {
  const wide = width*outHeight/(height*outWidth)
  const n = Math.min(4, Math.max(1, roundHalfEven(Math.max(wide, 1/wide)/1.25)))
  const cut = (side, i) => Math.floor(side*i/n)
  return Array.from({length: n}, (_, i) => wide > 1 ? [cut(width, i), 0, cut(width, i + 1), height]
                                                    : [0, cut(height, i), width, cut(height, i + 1)])
}

// Python's `round`: 2.5 becomes 2.
function roundHalfEven(x) { return x % 1 === .5 ? 2*Math.round(x/2) : Math.round(x) }

// Pillow's BILINEAR: each of `to` pixels is a weighted mean of those of `from` pixels that lie under a triangle, so
// that shrinking does not flicker.
// Weights are whole numbers that add up to about ONE, as Pillow has them, so that both round alike.
const ONE = 2**22

function triangles(from, to) {
  const scale = from/to, support = Math.max(scale, 1), length = 4 + Math.ceil(2*support)
  const res = new Int32Array(to*length) // for each: the first pixel, how many there are, their weights
  for (let i = 0; i < to; i++) {
    const centre = (i + .5)*scale
    const first = Math.max(0, Math.trunc(centre - support + .5))
    const end = Math.min(from, Math.trunc(centre + support + .5))
    const height = k => Math.max(0, 1 - Math.abs((k - centre + .5)/support))
    let sum = 0, at = i*length + 2
    for (let k = first; k < end; k++) sum += height(k)
    for (let k = first; k < end; k++) res[at++] = Math.floor(height(k)/sum*ONE + .5)
    res[i*length] = first
    res[i*length + 1] = end - first
  }
  return {length, weights: res}
}

// The pixels in `box` of the picture, resized. Pillow goes along the rows first, and since its version 13 along the
// columns where far more is cut off there.
function resize(picture, box, width, height, kernels) {
  const part = cropped(picture, box), more = part.height - height, downFirst = more > 0 && more > 2*(part.width - width)
  const {at} = downFirst ? across(down(part, height, kernels), width, kernels)
                         : down(across(part, width, kernels), height, kernels)
  return kernels.view(Uint8Array, at, 4*width*height)
}

// Each row `width` pixels wide, each column `height` pixels high.
const across = (part, width, kernels) => resampled('across', part, [part.width, width], width, part.height, kernels)
const down = (part, height, kernels) => resampled('down', part, [part.height, height], part.width, height, kernels)

function resampled(kernel, {at, pitch}, [from, to], width, height, kernels) {
  const {weights, length} = triangles(from, to), table = kernels.take(4*weights.length).at
  const y = kernels.take(4*width*height).at
  kernels.view(Int32Array, table).set(weights)
  kernels.call(kernel, height, at, pitch, width, table, length, y)
  return {width, height, at: y, pitch: 4*width}
}

// What the network sees of `box`: the middle of the resized picture, four bytes a pixel.
export function seen(picture, box, card, kernels) {
  const [rh, rw] = card.resize, [h, w] = card.size, top = Math.floor((rh - h)/2), left = Math.floor((rw - w)/2)
  const all = resize(picture, box, rw, rh, kernels), res = new Uint8Array(4*h*w)
  for (let y = 0; y < h; y++) res.set(all.subarray(4*((top + y)*rw + left), 4*((top + y)*rw + left + w)), 4*y*w)
  return res
}

// A pixel's red, green or blue, 0 to 255, as networks take it: in floats of 32 bits, as Python has them.
export function normalised(value, mean, std) {
  const f = Math.fround, scale = f(1/f(255*f(std))), shift = f(f(mean)/f(std))
  return f(f(value*scale) - shift)
}

// The answer for a picture. `run` asks the network about what is seen and gives {logits, parts, evidence}, each
// {dims, data}: a value for each label; what the parts of its head say of a piece, or nothing; maps (labels x rows x
// columns) or nothing. Of several boxes, the highest logit of each kind counts, and the lowest of `other`.
export async function predict(picture, card, kernels, run) {
  const said = []
  for (const box of partsOf(picture, ...card.resize)) said.push(await run(seen(picture, box, card, kernels)))
  const combined = label => label === OTHER ? Math.min : Math.max
  const ofAll = name => card.labels.map((label, i) => combined(label)(...said.map(o => o[name].data[i])))
  let logits = ofAll('logits')
  if (said.length > 1 && said[0].parts && card.company?.length) logits = ofPieces(said, ofAll('parts'), logits, card)
  if (!logits.every(Number.isFinite))
    throw new Error('This model gives values that are no numbers; train or export it anew.')
  const maps = joined(said.map(o => o.evidence), picture.width > picture.height, card.multi_label)
  return {probs: probabilities(logits, card), maps}
}

// As `_of_pieces` in Python, with the constants of `voices`: the first two by the parts where a piece has company, or all of
// them have, else the foremost. `said` is of each piece, `parts` and `logits` are of all.
const LOWEST = -20, FURTHER = 2, MARGIN = .01

export function ofPieces(said, parts, logits, {labels, thresholds, company}) {
  const at = labels.map(label => Math.min(1 - 1e-6, Math.max(1e-6, thresholds[label]))).map(t => Math.log(t/(1 - t)))
  const kinds = labels.map((_, i) => i).filter(i => labels[i] !== OTHER)
  const above = parts.map((x, i) => x - at[i]), whole = logits.map((x, i) => x - at[i]), most = Math.max(...whole)
  const first = [...kinds].sort((i, j) => above[j] - above[i])
  const place = i => { const x = said.map(o => o.parts.data[i]); return x.indexOf(Math.max(...x))/said.length }
  const [one, two = one] = first.slice(0, 2).map(place)
  const traits = [0, 1, 2].map(n => Math.max(LOWEST, above[first[n]] ?? LOWEST)).concat(10*Math.abs(one - two), 1)
  const inOne = said.some(o => kinds.filter(i => o.logits.data[i] >= at[i]).length > 1)
  const ofKind = (x, i) => first.indexOf(i) < 2 ? Math.max(x, 0) + MARGIN : x - FURTHER
  const together = (x, i) => labels[i] === OTHER ? Math.min(x, -MARGIN) : ofKind(x, i)
  const foremost = x => x < most ? x - Math.max(most, 0) : x
  const several = inOne || traits.reduce((sum, x, i) => sum + x*company[i], 0) > 0
  return (several ? above.map(together) : whole.map(foremost)).map((x, i) => x + at[i])
}

export function probabilities(logits, card) { return card.multi_label ? logits.map(sigmoid) : softmax(logits) }

function sigmoid(x) { return 1/(1 + Math.exp(-x)) }

function softmax(logits) {
  const top = Math.max(...logits), powers = logits.map(x => Math.exp(x - top)), sum = powers.reduce((a, b) => a + b)
  return powers.map(p => p/sum)
}

// The maps of all parts as one for each label, {rows, columns, values}: how much each place speaks for the label, 0
// to 1.
function joined(parts, sideBySide, multiLabel) {
  if (!parts[0]) return null
  const [, n, h, w] = parts[0].dims, rows = sideBySide ? h : h*parts.length, columns = sideBySide ? w*parts.length : w
  const at = (label, y, x) => parts[sideBySide ? Math.floor(x/w) : Math.floor(y/h)].data[(label*h + y % h)*w + x % w]
  const cells = Array.from({length: rows*columns}, (_, i) => {
    const all = Array.from({length: n}, (_, label) => at(label, Math.floor(i/columns), i % columns))
    return multiLabel ? all.map(sigmoid) : softmax(all)
  })
  return Array.from({length: n}, (_, label) => ({rows, columns, values: cells.map(c => c[label])}))
}
