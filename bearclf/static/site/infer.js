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

// The answer for a picture. `run` asks the network about what is seen and gives {logits, whole, evidence}, each
// {dims, data}: a value for each label by the parts of its head, and by its whole or nothing; maps (labels x rows x
// columns) or nothing.
export async function predict(picture, card, kernels, run) {
  const said = [], look = async box => {
    const answer = await run(seen(picture, box, card, kernels))
    if (![answer.logits, answer.whole, answer.evidence].every(o => o?.data.every(Number.isFinite) ?? true))
      throw new Error('This model gives values that are no numbers; train or export it anew.')
    return answer
  }
  for (const box of partsOf(picture, ...card.resize)) said.push(await look(box))
  const both = card.company?.weights && await heard(said, picture, card, look)
  const logits = both ? told(both, card) : ofAll(said, 'logits', card)
  const maps = joined(said.map(o => o.evidence), picture.width > picture.height, card.multi_label)
  return {probs: probabilities(logits, card), maps}
}

// Of several boxes the highest logit of each kind, and the lowest of `other`.
function ofAll(said, output, {labels}) {
  return labels.map((label, i) => (label === OTHER ? Math.min : Math.max)(...said.map(o => o[output].data[i])))
}

// Who answers, the parts or the whole, and where a closer look is taken: as in `voices` and `_hear` in Python, with
// their names.
const LOWEST = -20, FURTHER = 2, MARGIN = .01, SURE = .8, DECIDED = 3, SHARES = [.6, .4]

function thresholdLogits(thresholds, labels) {
  return labels.map(label => Math.min(1 - 1e-6, Math.max(1e-6, thresholds[label]))).map(t => Math.log(t/(1 - t)))
}

// All labels but `other`, the highest first.
function first(above, labels) {
  return labels.map((_, i) => i).filter(i => labels[i] !== OTHER).sort((i, j) => above[j] - above[i])
}

// Row and column of each label, as shares of the sides.
function centresOf({dims: [, n, h, w], data}) {
  return Array.from({length: n}, (_, label) => {
    const e = data.slice(label*h*w, (label + 1)*h*w), most = Math.max(...e)
    let all = 0, row = 0, column = 0
    e.forEach((x, i) => {
      const attention = Math.exp(x - most)
      all += attention
      row += attention*(Math.floor(i/w) + .5)/h
      column += attention*(i % w + .5)/w
    })
    return [row/all, column/all]
  })
}

function companyScore(above, centres, {labels, company: {weights, bias}}) {
  const those = first(above, labels), [one, two = one] = those.map(i => centres[i])
  const far = 10*Math.max(Math.abs(one[0] - two[0]), Math.abs(one[1] - two[1]))
  const traits = [0, 1, 2].map(n => Math.max(LOWEST, above[those[n]] ?? LOWEST)).concat(far)
  return traits.reduce((sum, x, i) => sum + x*weights[i], bias)
}

function boxAt([row, column], side, {width, height}) {
  const of = (at, size) => {
    const length = Math.max(1, Math.floor(size*side + .5))
    return [Math.min(Math.max(Math.floor(at*size - length/2 + .5 + 1e-9), 0), size - length), length]
  }
  const [top, h] = of(row, height), [left, w] = of(column, width)
  return [left, top, left + w, top + h]
}

// {parts, whole, score, closer}: of `closer` the first is of the first label's place, the second of the second's.
export async function heard(said, picture, card, look) {
  const {labels, company} = card, at = thresholdLogits(company.thresholds, labels), n = said.length
  const parts = ofAll(said, 'logits', card), whole = ofAll(said, 'whole', card)
  const aboveOf = logits => Array.from(logits, (x, i) => x - at[i]), above = aboveOf(parts)
  const centres = said.map(o => centresOf(o.evidence))
  const score = Math.max(...said.map((o, i) => companyScore(aboveOf(o.logits.data), centres[i], card)))
  if (n > 1) {
    const highest = values => values.indexOf(Math.max(...values))
    const places = labels.map((_, i) => [highest(said.map(o => o.logits.data[i]))/n, 0])
    return {parts, whole, score: Math.max(score, companyScore(above, places, card)), closer: []}
  }
  const [one, two = one] = first(above, labels), closer = []
  const unsure = [score < DECIDED && sigmoid(Math.max(...whole)) < SURE, score > -DECIDED]
  for (const [i, label] of [one, two].entries())
    if (unsure[i]) closer[i] = [...(await look(boxAt(centres[0][label], SHARES[i], picture))).whole.data]
  return {parts, whole, score, closer}
}

export function told({parts, whole, score, closer}, {labels, thresholds, company}) {
  const at = thresholdLogits(thresholds, labels), partsAt = thresholdLogits(company.thresholds, labels)
  const above = parts.map((x, i) => x - partsAt[i]), [one, two = one] = first(above, labels)
  const [byScore, worth, bias] = company.closer
  const decides = closer[1] && score < DECIDED
  const scoreAfter = decides ? byScore*score + worth*(closer[1][two] - closer[1][one]) + bias : score
  const likely = whole.map((x, i) => (closer[0] ? (x + closer[0][i])/2 : x) - at[i])
  const all = scoreAfter > 0 ? ofParts(above, one, two, closer[1], scoreAfter, labels) : foremost(likely)
  return all.map((x, i) => x + at[i])
}

// The first label, and the second as a closer look has it.
function ofParts(above, one, two, closer, score, labels) {
  const lift = Math.min(Math.max(score, MARGIN), DECIDED)
  const both = above.map((x, i) => i === one ? Infinity : x + (closer?.[i] ?? 0))
  const [, second = one] = first(both, labels)
  const ofKind = (x, i) => i === one || i === second ? Math.max(x, lift)
    : (i === two ? Math.min(x, -MARGIN) : x) - FURTHER
  return above.map((x, i) => labels[i] === OTHER ? Math.min(x, -MARGIN) : ofKind(x, i))
}

function foremost(above) {
  const most = Math.max(...above)
  return above.map(x => x < most ? x - Math.max(most, 0) : x)
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
