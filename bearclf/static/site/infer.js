// From the pixels of a picture to the model's answer: what bearclf/inference.py does in Python, step by step and with
// the same names.
// Nothing here knows of the page or of the browser, but for the canvas in `reduced`.

import {OTHER} from './answers.js'

// How many times smaller Python decodes a JPEG: 1, 2, 4 or 8 times, with both sides at least `side` pixels.
export function draft(width, height, side) {
  const fits = Math.min(Math.floor(width/side), Math.floor(height/side))
  return [8, 4, 2, 1].find(s => s <= fits) ?? 1
}

// The picture as rows of red, green, blue: {width, height, data}, `s` times smaller, white where it is transparent.
// Decoders of JPEG scale by averaging squares of s x s pixels, so that is done here, from strips that fit into a small
// canvas.
export function reduced(bitmap, s) {
  const width = Math.ceil(bitmap.width/s), height = Math.ceil(bitmap.height/s)
  const data = new Uint8Array(width*height*3), strip = 32*s
  const canvas = new OffscreenCanvas(bitmap.width, Math.min(strip, bitmap.height))
  const pen = canvas.getContext('2d', {willReadFrequently: true})
  for (let top = 0; top < bitmap.height; top += strip) {
    const rows = Math.min(strip, bitmap.height - top)
    pen.fillStyle = 'white'
    pen.fillRect(0, 0, bitmap.width, rows)
    pen.drawImage(bitmap, 0, top, bitmap.width, rows, 0, 0, bitmap.width, rows)
    const rgba = pen.getImageData(0, 0, bitmap.width, rows).data
    average(rgba, bitmap.width, rows, s, data, width, top/s)
  }
  return {width, height, data}
}

// Squares of s x s pixels of `rgba`, averaged into the rows of `data` from `row` on; at the edges the last pixels count
// again.
function average(rgba, width, rows, s, data, outWidth, row) {
  const sums = new Uint32Array(outWidth*3), area = s*s
  for (let y = 0; y < rows; y += s, row++) {
    sums.fill(area/2)
    for (let dy = 0; dy < s; dy++) {
      const line = Math.min(y + dy, rows - 1)*width
      for (let x = 0, to = 0; x < outWidth; x++, to += 3) for (let dx = 0; dx < s; dx++) {
        const from = (line + Math.min(x*s + dx, width - 1))*4
        sums[to] += rgba[from]
        sums[to + 1] += rgba[from + 1]
        sums[to + 2] += rgba[from + 2]
      }
    }
    for (let i = 0; i < sums.length; i++) data[row*sums.length + i] = sums[i]/area
  }
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
  const scale = from/to, support = Math.max(scale, 1)
  return Array.from({length: to}, (_, i) => {
    const centre = (i + .5)*scale
    const first = Math.max(0, Math.trunc(centre - support + .5))
    const end = Math.min(from, Math.trunc(centre + support + .5))
    const height = k => Math.max(0, 1 - Math.abs((first + k - centre + .5)/support))
    const weights = Float64Array.from({length: end - first}, (_, k) => height(k))
    const sum = weights.reduce((a, b) => a + b, 0)
    return {first, weights: weights.map(w => Math.floor(w/sum*ONE + .5))}
  })
}

// What is in `box` of the picture, resized. Pillow goes along the rows first, and since its version 13 along the
// columns where far more is cut off there.
export function resize(picture, box, width, height) {
  const part = cropped(picture, box), more = part.height - height
  if (more > 0 && more > 2*(part.width - width)) return across(down(part, height), width)
  return down(across(part, width), height)
}

export function cropped({width, data}, [left, top, right, bottom]) {
  const res = new Uint8Array((right - left)*(bottom - top)*3)
  for (let y = top; y < bottom; y++)
    res.set(data.subarray((y*width + left)*3, (y*width + right)*3), (y - top)*(right - left)*3)
  return {width: right - left, height: bottom - top, data: res}
}

// Each row `width` pixels wide, rounded to 8 bits.
function across(part, width) {
  const data = part.data, res = new Uint8Array(width*part.height*3)
  triangles(part.width, width).forEach(({first, weights}, x) => {
    for (let y = 0; y < part.height; y++) {
      let r = ONE/2, g = ONE/2, b = ONE/2, from = (y*part.width + first)*3, to = (y*width + x)*3
      for (let k = 0; k < weights.length; k++) {
        r += weights[k]*data[from++]
        g += weights[k]*data[from++]
        b += weights[k]*data[from++]
      }
      res[to++] = r/ONE
      res[to++] = g/ONE
      res[to] = b/ONE
    }
  })
  return {width, height: part.height, data: res}
}

// Each column `height` pixels high, rounded to 8 bits.
function down(part, height) {
  const n = part.width*3, line = new Float64Array(n), res = new Uint8Array(n*height)
  triangles(part.height, height).forEach(({first, weights}, y) => {
    line.fill(ONE/2)
    for (let k = 0; k < weights.length; k++)
      for (let i = 0, from = (first + k)*n; i < n; i++) line[i] += weights[k]*part.data[from + i]
    for (let i = 0; i < n; i++) res[y*n + i] = line[i]/ONE
  })
  return {width: part.width, height, data: res}
}

// What the network sees of `box`: the middle of the resized picture, normalised, as planes of red, green and blue.
export function tensor(picture, box, card) {
  const [rh, rw] = card.resize, [h, w] = card.size, top = Math.floor((rh - h)/2), left = Math.floor((rw - w)/2)
  const pixels = resize(picture, box, rw, rh).data, res = new Float32Array(3*h*w)
  for (let c = 0; c < 3; c++) for (let y = 0; y < h; y++) for (let x = 0; x < w; x++)
    res[(c*h + y)*w + x] = (pixels[((top + y)*rw + left + x)*3 + c]/255 - card.mean[c])/card.std[c]
  return res
}

// The answer for a picture. `run` asks the network about one tensor and gives {logits, evidence}: a value for each
// label, and maps of them (labels x rows x columns, with `dims`) or nothing. Of parts, the highest logit of each kind
// counts, and the lowest of `other`.
export async function predict(picture, card, run) {
  const said = []
  for (const box of partsOf(picture, ...card.resize)) said.push(await run(tensor(picture, box, card)))
  const logits = card.labels.map((label, i) => (label === OTHER ? Math.min : Math.max)(...said.map(o => o.logits[i])))
  if (!logits.every(Number.isFinite))
    throw new Error('This model gives values that are no numbers; train or export it anew.')
  const probs = (card.multi_label ? logits.map(sigmoid) : softmax(logits))
  return {probs, maps: joined(said.map(o => o.evidence), picture.width > picture.height, card.multi_label)}
}

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
